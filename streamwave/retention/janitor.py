"""The janitor: finds and removes what nobody needs any more, at outputs and in the spool.

What a manifest names, or the ledger of a broadcast that is not over, is never touched. Every removal can break off at
any moment and be done again.
"""

from __future__ import annotations

import functools
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamwave.broadcasts import catalog, index
from streamwave.broadcasts.catalog import Broadcast, Output
from streamwave.broadcasts.delete import delete_all, remove
from streamwave.config.settings import Settings
from streamwave.errors import DamagedError, OutputError, StreamWaveError
from streamwave.layout import INDEX, is_broadcast_object
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.names import named_objects
from streamwave.model import State
from streamwave.publish.expiry import grace_s
from streamwave.retention import spool_store
from streamwave.retention.clock import days_to_keep
from streamwave.spool.broadcast import FINISHED, BroadcastSpool
from streamwave.spool.broadcast import broadcasts as spooled
from streamwave.spool.info import INFO, is_ours
from streamwave.spool.journal import writer_alive
from streamwave.spool.remote import exchange
from streamwave.storage.store import LocalStore

log = logging.getLogger("streamwave.janitor")

#: Nothing younger than this is touched by age: a temporary file may be one that is being written.
YOUNG_S = 3600
#: The spool of a finished broadcast stays this long, because it says how the broadcast went.
SPOOL_KEEP_S = 24 * 3600
DAY_MS = 86_400_000
#: What a local store calls an object until it is whole.
_TEMPORARY = re.compile(r"\.[A-Za-z0-9_][A-Za-z0-9._-]*\.[0-9a-f]{8}")


@dataclass(frozen=True)
class Find:
    """Something that can go: what it is, why, and how to remove it. ``mends``: it stays, and is put right."""

    what: str
    why: str
    act: Callable[[], object]
    mends: bool = False


@dataclass(frozen=True)
class SpoolPlace:
    """Where spools in a store are: ``url`` of the present one (None: it is a folder), ``options`` of all."""

    url: str | None
    options: Mapping[str, Any]

    @classmethod
    def of(cls, settings: Settings) -> SpoolPlace:
        """That of the settings."""
        return cls(settings.spool_url, settings.spool_options)


@dataclass(frozen=True)
class Outcome:
    """What was done about something: ``what`` and ``why`` of the find, and what went wrong, if anything did.

    ``at`` is the output, empty for the spool. One that could not be looked through is told as ``looked`` False.
    """

    what: str
    why: str
    trouble: str | None = None
    looked: bool = True
    at: str = ""
    mends: bool = False


def clean(
    *outputs: Output, days: int, now_unix_ms: int, dry_run: bool = False, spool: SpoolPlace | None = None
) -> list[Outcome]:
    """Remove everything that can go from the ``outputs`` and the spool that they share; what came of it.

    ``days``: recordings older than that go too, 0: none. ``dry_run`` only looks. ``spool`` is given where the spool may
    be in a store. An output, or a store, that cannot be read keeps nobody from cleaning the others.
    """
    done = [_deal_with(find, dry_run) for find in in_spool(outputs[0].spool_dir, now_unix_ms)]
    if spool is not None:
        try:
            done += [_deal_with(find, dry_run) for find in in_store(outputs[0].spool_dir, spool, now_unix_ms)]
        except OutputError as error:
            log.warning("the spool was not looked through: %s", error)
            done.append(Outcome(spool.url or "the spool", "the spool", str(error), looked=False))
    for output in outputs:
        try:
            finds = list(at_output(output, days=days, now_unix_ms=now_unix_ms, note=not dry_run))
        except OutputError as error:
            log.warning("%s was not looked through: %s", output.url, error)
            done.append(Outcome(output.url, "an output", str(error), looked=False, at=output.url))
        else:
            done += [_deal_with(find, dry_run, output.url) for find in finds]
    return done


def clean_by_itself(settings: Settings) -> list[Outcome]:
    """``clean`` as nobody has asked for it: recordings go for their age only by a clock that is steady (``steady``)."""
    now, spool = now_ms(), SpoolPlace.of(settings)
    days = days_to_keep(settings.state_dir, settings.recordings_days, now)
    return clean(*catalog.outputs(settings), days=days, now_unix_ms=now, spool=spool)


def _deal_with(find: Find, dry_run: bool, at: str = "") -> Outcome:
    trouble, where = None, f" at {at}" if at else ""
    if not dry_run:
        try:
            find.act()
        except (StreamWaveError, OSError) as error:
            trouble = str(error)
            log.warning("%s%s was not %s: %s", find.what, where, "mended" if find.mends else "removed", error)
        else:
            log.info("%s %s%s: %s", "mended" if find.mends else "removed", find.what, where, find.why)
    return Outcome(find.what, find.why, trouble, at=at, mends=find.mends)


def at_output(output: Output, *, days: int, now_unix_ms: int, note: bool = True) -> Iterator[Find]:
    """What can go at an output: half-deleted and outdated broadcasts, what no ledger names, temporary files. And its list.

    ``note``: recordings that were looked through get a note that says so.
    """
    root, found = output.store(), catalog.list_broadcasts(output, now_unix_ms)
    for one in found:
        if one.state is State.DELETED:
            yield Find(one.path, "its removal was interrupted", _remover(output, one))
        elif is_outdated(one, days, now_unix_ms):
            yield Find(one.path, f"it ended more than {days} days ago", _remover(output, one))
        elif one.state is State.RECORDED:
            try:
                yield from _unnamed(output, one, note, now_unix_ms)
            except OutputError as error:
                if root.remote:  # which may be away, and then each would be waited for
                    raise
                log.warning("%s was not looked through: %s", one.path, error)
    yield from _temporary(output, now_unix_ms)
    if not index.is_current(root):
        yield Find(INDEX, "it does not list what is there", lambda: index.rebuild(root), mends=True)


def is_outdated(one: Broadcast, days: int, now_unix_ms: int) -> bool:
    """Whether a recording is to go. Only live streams have one: a transcoded file stays until somebody deletes it."""
    over = one.state in (State.RECORDED, State.CUT_OFF) and one.ended_unix_ms is not None and one.path.count("/") == 1
    # A clock that has run backwards makes recordings younger, never older.
    return over and days > 0 and now_unix_ms - max(one.ended_unix_ms or 0, one.started_unix_ms) > days * DAY_MS


def _unnamed(output: Output, one: Broadcast, note: bool, now_unix_ms: int) -> Iterator[Find]:
    """Media of a recording that its ledger does not name: of a chunk during which a run was killed."""
    store = output.store(one.path)
    if one.path.count("/") != 1 or catalog.read_entry(store).get("clean"):
        return
    names = [name for name in store.names() if is_broadcast_object(name) and name.endswith((".m4s", ".mp4"))]
    # Read after the listing: what was published in between is not in the list, and so not in danger.
    try:
        timeline = Ledger.load(store).timeline
    except DamagedError as error:
        log.warning("%s", error)
        return
    if timeline is None or not timeline.ended:
        return
    # What has left the DVR window last is still wanted by players with an older manifest.
    if now_unix_ms - (one.ended_unix_ms or 0) < 1000 * grace_s(timeline):
        return
    extra = sorted({*names} - named_objects(timeline))
    if extra:
        count = f"{len(extra)} media object{'s' if len(extra) > 1 else ''}"
        yield Find(
            f"{one.path}/{extra[0]}", f"{count} that its ledger does not name", lambda: list(delete_all(store, extra))
        )
    elif note:
        index.mark_clean(store)  # a recording does not change: once is enough


def _temporary(output: Output, now_unix_ms: int) -> Iterator[Find]:
    """Temporary files of writers that were killed; only local disks have any."""
    root = output.store()
    if not isinstance(root, LocalStore) or not root.root.is_dir():
        return
    for pattern in ("", "*/*/", "*/*/ledger/", "*/*/p*/*/"):
        for path in root.root.glob(f"{pattern}.*"):
            if _TEMPORARY.fullmatch(path.name) and path.is_file() and _age_s(path, now_unix_ms) > YOUNG_S:
                yield Find(str(path.relative_to(root.root)), "a write that was interrupted", _deleter(path))


def in_spool(spool_dir: Path, now_unix_ms: int) -> Iterator[Find]:
    """What can go in the spool: chunks of finished broadcasts, later their folders; folders without a broadcast."""
    for spool in spooled(spool_dir):
        if not spool.finished or spool.run_alive():
            continue
        if _age_s(spool.folder / FINISHED, now_unix_ms) > SPOOL_KEEP_S:
            yield Find(str(spool.folder), "its broadcast is finished", spool.remove)
            continue
        for folder in (*spool.sessions(), spool.folder / "work"):
            if folder.is_dir() and not writer_alive(folder):
                yield Find(str(folder), "its broadcast is finished", _tree_deleter(folder))
    for folder in spool_dir.glob("*/*"):
        described = (folder / INFO).exists() or not is_ours(folder.parent.name, folder.name)
        empty = folder.is_dir() and not any(path.is_dir() for path in folder.iterdir())
        if not described and empty and _age_s(folder, now_unix_ms) > YOUNG_S:
            yield Find(str(folder), "a broadcast that never began", BroadcastSpool(folder).remove)


def clean_spool(spool_dir: Path) -> None:
    """Remove what can go in the spool.

    Raises:
        OSError: something cannot be removed.
    """
    for find in in_spool(spool_dir, now_ms()):
        find.act()


def in_store(spool_dir: Path, place: SpoolPlace, now_unix_ms: int) -> Iterator[Find]:
    """What can go of spools in a store: those of finished broadcasts, and remains.

    Raises:
        OutputError: the store cannot be listed.
    """
    for spool in spool_store.finished_here(spool_dir):
        clear = functools.partial(exchange.clear, spool, place.options)
        yield Find(spool.info().spool, "its broadcast is finished", clear)
    for url in spool_store.left_in_store(place.url, place.options, now_unix_ms) if place.url else ():
        yield Find(
            url, "its broadcast is finished", functools.partial(spool_store.remove_from_store, url, place.options)
        )


def _age_s(path: Path, now_unix_ms: int) -> float:
    try:
        return now_unix_ms / 1000 - path.stat().st_mtime
    except OSError:
        return 0.0


def _remover(output: Output, one: Broadcast) -> Callable[[], object]:
    return lambda: remove(output, one)


def _deleter(path: Path) -> Callable[[], object]:
    return lambda: path.unlink(missing_ok=True)


def _tree_deleter(folder: Path) -> Callable[[], object]:
    return lambda: shutil.rmtree(folder)


def now_ms() -> int:
    """The wall clock, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
