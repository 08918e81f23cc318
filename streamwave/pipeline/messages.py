"""Messages about outputs that lack a part of a broadcast when it ends."""

from __future__ import annotations

import time
from collections.abc import Mapping

from streamwave.publish.outputs import Outputs


def waiting(published: Outputs) -> str:
    """A sentence that says where the recording is complete, which outputs are waited for, and until when."""
    others = ", ".join(_with_error(url, why) for url, why in published.left_behind.items())
    return (
        f"the recording is complete at {', '.join(published.complete)}; the run waits until {_until(published)} "
        f"for {others} to catch up"
    )


def unlisted(published: Outputs, refused: Mapping[str, str]) -> str:
    """A sentence about outputs that have the recording but ``refused`` to list it, and until when that is retried."""
    places = ", ".join(_with_error(url, why) for url, why in refused.items())
    return f"the list of broadcasts still shows it as live at {places}; the run retries until {_until(published)}"


def left(url: str, why: str, path: str) -> str:
    """A sentence about an output that is no longer waited for; ``path`` is the path of the broadcast."""
    return (
        f"the recording is incomplete at {_with_error(url, why)}; once that can be written, complete it with: "
        f"streamwave broadcasts catch-up {path}"
    )


def _until(published: Outputs) -> str:
    """The time until which outputs are waited for."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() + published.completion.patience_left_s))


def _with_error(url: str, why: str) -> str:
    return f"{url} ({why.removeprefix(url).strip()})"  # most errors begin with the URL
