"""Bring a recording to outputs that were away when it ended: they copy it from the one that is fullest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from streamwave.catalog import Broadcast, Output, need_ledger
from streamwave.errors import OutputError, UsageError
from streamwave.job import fingerprint
from streamwave.layout import MANIFEST, MASTER, init_name, segment_name
from streamwave.listing import Listing
from streamwave.manifest.render import manifest_names
from streamwave.manifest.timeline import Timeline
from streamwave.publish import Publication
from streamwave.settings import Settings
from streamwave.spool.broadcast import BroadcastInfo
from streamwave.storage.store import Store
from streamwave.storage.target import Target, format_outputs
from streamwave.targets import Targets


@dataclass(frozen=True)
class Outcome:
    """The outputs that have all of the recording now, and what is wrong with each of the others."""

    complete: list[str]
    left_behind: dict[str, str]


def catch_up(
    fullest: Output, found: Broadcast, places: Sequence[Target], settings: Settings, warn: Callable[[str], None]
) -> Outcome:
    """Complete ``found``, which ``fullest`` holds, at all ``places``, which are roots of outputs and ``fullest`` among them.

    What a ledger lists and has been lost since, or is of another size, is replaced from an output that has it.
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
        lacking = _replace_lost(
            published.timeline,
            {lane.url: lane.publication.store for lane in published.lanes if lane.finished and lane.publication},
        )
        outcome = Outcome(
            [url for url in published.complete if url not in lacking], {**published.left_behind, **lacking}
        )
        stream, separator, broadcast = found.path.partition("/")
        if separator:  # what was transcoded by itself is in no list
            info = BroadcastInfo(
                stream=stream,
                broadcast=broadcast,
                created_unix_ms=found.started_unix_ms,
                output=format_outputs(below),
                title=found.title,
            )
            Listing(info, settings.s3_options, warn).update(published, outcome.complete)
    finally:
        published.close()
    return outcome


def _replace_lost(timeline: Timeline, stores: Mapping[str, Store]) -> dict[str, str]:
    """Copy objects of a recording that one of the ``stores`` has lost from one that has them; what some still lack."""
    sizes: dict[str, int] = {}
    for period in timeline.periods:
        for rendition, track in period.tracks.items():
            sizes[init_name(period.name, rendition)] = track.init_size
            for segment in track.segments:
                sizes[segment_name(period.name, rendition, segment.time)] = segment.size
    # Media first: what a manifest names is stored.
    manifests = [name for name in manifest_names(timeline) if name not in (MASTER, MANIFEST)] + [MASTER, MANIFEST]
    held: dict[str, dict[str, int]] = {}
    lacking: dict[str, str] = {}
    for url, store in stores.items():
        try:
            held[url] = {entry.name: entry.size for entry in store.entries()}
        except OutputError as error:
            lacking[url] = str(error)

    def is_whole(url: str, name: str) -> bool:
        return held[url].get(name, 0) > 0 and held[url][name] == sizes.get(name, held[url][name])

    for url in held:
        for name in [*sizes, *manifests]:
            source = next((other for other in held if other != url and is_whole(other, name)), None)
            if is_whole(url, name) or (source is None and name in manifests):
                continue
            # Of another size and whole nowhere else: it may be what another run made of the same chunk.
            if source is None and held[url].get(name, 0) > 0:
                continue
            try:
                data = stores[source].get(name) if source is not None else None
                if data is None:
                    raise OutputError(f"{url} lacks {name}, and no other output has it whole")
                stores[url].put(name, data)
            except OutputError as error:
                lacking[url] = str(error)
                break
    return lacking
