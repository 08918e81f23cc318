"""The janitor: finds and removes leftovers and expired recordings, at outputs and in the spool.

It never touches objects named by a manifest or by the ledger of an unfinished broadcast. Every removal can be interrupted
at any moment and repeated.
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

#: Minimum age of leftovers: a younger temporary file may still be being written.
YOUNG_S = 3600
#: How long the spool of a finished broadcast is kept for its status and warnings.
SPOOL_KEEP_S = 24 * 3600
DAY_MS = 86_400_000
#: Names of a local store's temporary files.
_TEMPORARY = re.compile(r"\.[A-Za-z0-9_][A-Za-z0-9._-]*\.[0-9a-f]{8}")


@dataclass(frozen=True)
class Find:
    """Something to remove: what it is, why, and how. ``repairs``: ``act`` repairs it instead of removing it."""

    what: str
    why: str
    act: Callable[[], object]
    repairs: bool = False


@dataclass(frozen=True)
class SpoolPlace:
    """Where spools in a store are: ``url`` of the configured spool (None if it is a folder), and the store's ``options``."""

    url: str | None
    options: Mapping[str, Any]

    @classmethod
    def of(cls, settings: Settings) -> SpoolPlace:
        """The spool of the settings."""
        return cls(settings.spool_url, settings.spool_options)


@dataclass(frozen=True)
class Outcome:
    """What was done about a find: its ``what`` and ``why``, and the error in ``trouble`` if the action failed.

    ``at`` is the URL of the output, empty for the spool. An output or store that could not be read has an outcome of its
    own with ``readable`` false.
    """

    what: str
    why: str
    trouble: str | None = None
    readable: bool = True
    at: str = ""
    repairs: bool = False


def clean(
    *outputs: Output, days: int, now_unix_ms: int, dry_run: bool = False, spool: SpoolPlace | None = None
) -> list[Outcome]:
    """Clean the ``outputs`` and the spool that they share, and return what was done.

    ``days``: also remove recordings older than that; 0 keeps all. ``dry_run``: only report. ``spool``: given if the spool
    may be in a store. An output or store that cannot be read is reported, and the others are cleaned.
    """
    done = [_deal_with(find, dry_run) for find in in_spool(outputs[0].spool_dir, now_unix_ms)]
    if spool is not None:
        try:
            done += [_deal_with(find, dry_run) for find in in_store(outputs[0].spool_dir, spool, now_unix_ms)]
        except OutputError as error:
            log.warning("the spool could not be read: %s", error)
            done.append(Outcome(spool.url or "the spool", "the spool", str(error), readable=False))
    for output in outputs:
        try:
            finds = list(at_output(output, days=days, now_unix_ms=now_unix_ms, note=not dry_run))
        except OutputError as error:
            log.warning("%s could not be read: %s", output.url, error)
            done.append(Outcome(output.url, "an output", str(error), readable=False, at=output.url))
        else:
            done += [_deal_with(find, dry_run, output.url) for find in finds]
    return done


def clean_unattended(settings: Settings) -> list[Outcome]:
    """``clean`` for automatic rounds: recordings are removed by age only if the clock is trusted (``clock``)."""
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
            log.warning("%s%s was not %s: %s", find.what, where, "repaired" if find.repairs else "removed", error)
        else:
            log.info("%s %s%s: %s", "repaired" if find.repairs else "removed", find.what, where, find.why)
    return Outcome(find.what, find.why, trouble, at=at, repairs=find.repairs)


def at_output(output: Output, *, days: int, now_unix_ms: int, note: bool = True) -> Iterator[Find]:
    """What to clean at an output: half-deleted and expired broadcasts, unreferenced objects, temporary files, the index.

    ``note``: mark recordings without unreferenced objects as clean, so that they are not checked again.
    """
    root, found = output.store(), catalog.list_broadcasts(output, now_unix_ms)
    for one in found:
        if one.state is State.DELETED:
            yield Find(one.path, "its deletion was interrupted", _remover(output, one))
        elif is_outdated(one, days, now_unix_ms):
            yield Find(one.path, f"ended more than {days} days ago", _remover(output, one))
        elif one.state is State.RECORDED:
            try:
                yield from _unnamed(output, one, note, now_unix_ms)
            except OutputError as error:
                if root.remote:  # the store may be unreachable, and every further broadcast would wait for a timeout
                    raise
                log.warning("%s could not be read: %s", one.path, error)
    yield from _temporary(output, now_unix_ms)
    if not index.is_current(root):
        yield Find(INDEX, "outdated", lambda: index.rebuild(root), repairs=True)


def is_outdated(one: Broadcast, days: int, now_unix_ms: int) -> bool:
    """Whether a recording of a live stream has expired. Transcoded files never expire."""
    over = one.state in (State.RECORDED, State.CUT_OFF) and one.ended_unix_ms is not None and one.path.count("/") == 1
    # max(): if the clock was set back during the broadcast, the end may be before the start.
    return over and days > 0 and now_unix_ms - max(one.ended_unix_ms or 0, one.started_unix_ms) > days * DAY_MS


def _unnamed(output: Output, one: Broadcast, note: bool, now_unix_ms: int) -> Iterator[Find]:
    """Media objects of a recording that its ledger does not name, left by a run that was killed."""
    store = output.store(one.path)
    if one.path.count("/") != 1 or catalog.read_entry(store).get("clean"):
        return
    names = [name for name in store.names() if is_broadcast_object(name) and name.endswith((".m4s", ".mp4"))]
    # Read after listing the objects: those published in between are in the ledger but not in the list, so they are safe.
    try:
        timeline = Ledger.load(store).timeline
    except DamagedError as error:
        log.warning("%s", error)
        return
    if timeline is None or not timeline.ended:
        return
    # Segments that have just left the DVR window may still be requested by players with an older manifest.
    if now_unix_ms - (one.ended_unix_ms or 0) < 1000 * grace_s(timeline):
        return
    extra = sorted({*names} - named_objects(timeline))
    if extra:
        count = f"{len(extra)} media object{'s' if len(extra) > 1 else ''}"
        yield Find(
            f"{one.path}/{extra[0]}", f"{count} that its ledger does not name", lambda: list(delete_all(store, extra))
        )
    elif note:
        index.mark_clean(store)  # a recording does not change, so it is checked only once


def _temporary(output: Output, now_unix_ms: int) -> Iterator[Find]:
    """Temporary files of killed writers; only local stores have any."""
    root = output.store()
    if not isinstance(root, LocalStore) or not root.root.is_dir():
        return
    for pattern in ("", "*/*/", "*/*/ledger/", "*/*/p*/*/"):
        for path in root.root.glob(f"{pattern}.*"):
            if _TEMPORARY.fullmatch(path.name) and path.is_file() and _age_s(path, now_unix_ms) > YOUNG_S:
                yield Find(str(path.relative_to(root.root)), "interrupted write", _deleter(path))


def in_spool(spool_dir: Path, now_unix_ms: int) -> Iterator[Find]:
    """What to clean in the spool: chunks of finished broadcasts, later their folders; folders without a broadcast."""
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
            yield Find(str(folder), "a broadcast that never started", BroadcastSpool(folder).remove)


def clean_spool(spool_dir: Path) -> None:
    """Delete what is no longer needed in the spool.

    Raises:
        OSError: a file or folder cannot be deleted.
    """
    for find in in_spool(spool_dir, now_ms()):
        find.act()


def in_store(spool_dir: Path, place: SpoolPlace, now_unix_ms: int) -> Iterator[Find]:
    """What to clean in spools in a store: finished broadcasts and leftovers.

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
    """The wall clock in Unix milliseconds."""
    return time.time_ns() // 1_000_000
