"""Complete a recording at outputs that were unreachable when it ended, by copying from the most complete one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from streamwave.broadcasts.catalog import Broadcast, Copy, Output, need_ledger
from streamwave.broadcasts.listing import Listing
from streamwave.config.settings import Settings
from streamwave.errors import OutputError, UsageError
from streamwave.layout import MANIFEST, MASTER
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.render import manifest_names
from streamwave.manifest.timeline import Timeline
from streamwave.model import State
from streamwave.publish.opening import open_publication
from streamwave.spool.broadcast import BroadcastInfo
from streamwave.storage.outputs import OutputAddress, format_outputs
from streamwave.storage.store import Store
from streamwave.util.digest import digest_of, fingerprint
from streamwave.verify.record import published_digests, published_sizes

#: Objects of an output that are read concurrently.
PARALLEL = 8


@dataclass(frozen=True)
class Outcome:
    """The outputs that have the complete recording now, and the error of each of the others by its URL."""

    complete: list[str]
    left_behind: dict[str, str]


def source_of(copies: Sequence[Copy]) -> Copy:
    """Choose the copy to complete the others from: the first one whose ledger is ended, or else the first one.

    ``copies`` are sorted, the most complete first. Their state is not enough, because it comes from the entry, which may
    still say "recorded" where the ledger was lost.
    """
    for where, found in copies:
        with suppress(OutputError):
            ledger = Ledger.load(where.store(found.path))
            if found.state is State.RECORDED and ledger.timeline is not None and ledger.timeline.ended:
                return where, found
    return copies[0]


def catch_up(
    fullest: Output,
    found: Broadcast,
    places: Sequence[OutputAddress],
    settings: Settings,
    warn: Callable[[str], None],
    *,
    read_all: bool = False,
) -> Outcome:
    """Complete the recording ``found``, copied from ``fullest``, at all ``places``: roots of outputs, including ``fullest``.

    Objects in the ledger that are missing or have the wrong size are copied from an output that has them. With
    ``read_all`` every object is read, and those whose content differs from the published digest are replaced as well.
    ``warn`` is called with problems that do not affect playback.

    Raises:
        UsageError: the broadcast is not a complete recording.
        OutputError: no output can be written.
        FencedError: another process is doing the same.
    """
    if found.state is not State.RECORDED:
        raise UsageError(f"{found.path} is {found.state}; only a recording that is complete at an output can be copied")
    header = need_ledger(fullest.store(found.path)).header
    assert header is not None
    token = fingerprint(found.path, time.time_ns())
    below = [place.below(found.path) for place in places]

    published = open_publication(
        below,
        settings.s3_options,
        # Manifests are written last, so that a copy that lost only its ledger stays playable meanwhile.
        manifests=False,
        token=token,
        base_urls=settings.base_urls_of(found.path),
        copy_of=fullest.store(found.path),
    )
    try:
        published.begin(header)
        published.finish()
        lacking = _replace_lost(
            published.timeline,
            {
                output.url: output.publication.store
                for output in published.queues
                if output.finished and output.publication
            },
            published_digests(published.leader.store) if read_all else {},
        )
        for output in published.queues if read_all else ():
            # Manifests have no digest; they are rendered again from the ledger.
            if output.finished and output.publication is not None and output.url not in lacking:
                output.publication.finish(again=True)
        outcome = Outcome(
            [url for url in published.complete if url not in lacking], {**published.left_behind, **lacking}
        )
        stream, separator, broadcast = found.path.partition("/")
        if separator:  # a file transcoded on its own is not indexed
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


def _replace_lost(timeline: Timeline, stores: Mapping[str, Store], digests: Mapping[str, str]) -> dict[str, str]:
    """Copy the objects that a store lacks from another one, and return by URL what is still missing.

    ``digests``, by object name, are compared in every store, and objects that differ are replaced as well.
    """
    sizes = published_sizes(timeline)
    # Media first: a manifest must not name an object that is not stored.
    manifests = [name for name in manifest_names(timeline) if name not in (MASTER, MANIFEST)] + [MASTER, MANIFEST]
    held: dict[str, dict[str, int]] = {}
    changed: dict[str, set[str]] = {}
    lacking: dict[str, str] = {}
    for url, store in stores.items():
        try:
            entries = {entry.name: entry.size for entry in store.entries()}
            changed[url] = _changed(store, {name: digests[name] for name in sizes if name in digests})
            held[url] = entries
        except OutputError as error:
            lacking[url] = str(error)

    def is_whole(url: str, name: str) -> bool:
        size = held[url].get(name, 0)
        return size > 0 and size == sizes.get(name, size) and name not in changed[url]

    for url in held:
        for name in [*sizes, *manifests]:
            source = next((other for other in held if other != url and is_whole(other, name)), None)
            if is_whole(url, name) or (source is None and name in manifests):
                continue
            # An object of another size that no store has in the expected size may come from another run of the chunk: keep it.
            if source is None and held[url].get(name, 0) > 0:
                if name in changed[url] and held[url][name] == sizes[name]:
                    lacking.setdefault(url, f"{name} at {url} was changed, and no other output has it unchanged")
                continue
            try:
                data = stores[source].get(name) if source is not None else None
                if data is None:
                    raise OutputError(f"{url} lacks {name}, and no other output has it")
                stores[url].put(name, data)
            except OutputError as error:
                lacking[url] = str(error)
                break
    return lacking


def _changed(store: Store, digests: Mapping[str, str]) -> set[str]:
    """Names of the objects at ``store`` whose digests differ from ``digests``; missing objects are left out."""

    def is_changed(name: str) -> bool:
        data = store.get(name)
        return data is not None and digest_of(data) != digests[name]

    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="read") as pool:
        return {name for name, found in zip(digests, pool.map(is_changed, digests), strict=True) if found}
