"""Bring a recording to outputs that were away when it ended: they copy it from the one that is fullest."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from streamwave.catalog import Broadcast, Output, need_ledger
from streamwave.errors import UsageError
from streamwave.job import fingerprint
from streamwave.listing import Listing
from streamwave.publish import Publication
from streamwave.settings import Settings
from streamwave.spool.broadcast import BroadcastInfo
from streamwave.storage.target import Target, format_outputs
from streamwave.targets import Targets


def catch_up(
    fullest: Output, found: Broadcast, places: Sequence[Target], settings: Settings, warn: Callable[[str], None]
) -> Targets:
    """Complete ``found``, which ``fullest`` holds, at all ``places``, which are roots of outputs and ``fullest`` among them.

    Which of them have it then, ``complete`` and ``left_behind`` of the result say.
    ``warn`` is told what does not matter to players.

    Raises:
        UsageError: it is not over.
        OutputError: no place can be written.
        FencedError: another process does this now.
    """
    if found.state != "recorded":
        raise UsageError(f"{found.path} is {found.state}; only a recording that is complete at an output can be copied")
    header = need_ledger(fullest.store(found.path)).header
    assert header is not None
    token = fingerprint(found.path, time.time_ns())

    below = [place.below(found.path) for place in places]

    def at(place: Target) -> tuple[str, Callable[[], Publication]]:
        def make() -> Publication:
            urls = settings.base_urls_of(found.path)
            return Publication(place.open(settings.s3_options), manifests=True, token=token, base_urls=urls)

        return place.url, make

    published = Targets([at(place) for place in below], patience_s=0)
    try:
        published.begin(header)
        published.finish()
        stream, separator, broadcast = found.path.partition("/")
        if separator:  # what was transcoded by itself is in no list
            info = BroadcastInfo(
                stream=stream,
                broadcast=broadcast,
                created_unix_ms=found.started_unix_ms,
                output=format_outputs(below),
                title=found.title,
            )
            Listing(info, settings.s3_options, warn).update(published, published.complete)
    finally:
        published.close()
    return published
