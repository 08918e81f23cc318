"""What people are told of outputs that have not got all of a broadcast when it ends."""

from __future__ import annotations

import time
from collections.abc import Mapping

from streamwave.publish.outputs import Outputs


def waiting(published: Outputs) -> str:
    """A sentence on what is complete already, what is waited for, and until when."""
    others = ", ".join(_told(url, why) for url, why in published.left_behind.items())
    return (
        f"{', '.join(published.complete)} holds all of the recording; the run waits until {_until(published)} "
        f"for {others} to catch up"
    )


def unlisted(published: Outputs, refused: Mapping[str, str]) -> str:
    """A sentence on outputs that have all of the recording and ``refused`` to list it, until when that is tried again."""
    places = ", ".join(_told(url, why) for url, why in refused.items())
    return f"the list of broadcasts still says that it is live at {places}; the run tries until {_until(published)}"


def left(url: str, why: str, path: str) -> str:
    """A sentence on an output that is not waited for any longer; ``path`` is the broadcast's."""
    return (
        f"not all of it is at {_told(url, why)}; once that can be written, "
        f"streamwave broadcasts catch-up {path} brings it there"
    )


def _until(published: Outputs) -> str:
    """The moment until which outputs are waited for."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() + published.completion.patience_left_s))


def _told(url: str, why: str) -> str:
    return f"{url} ({why.removeprefix(url).strip()})"  # most sentences begin with it
