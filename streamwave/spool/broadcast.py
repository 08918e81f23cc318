"""The spool of a live broadcast: a folder with one numbered spool per session, in the order in which they connected.

::

    SPOOL/<stream>/<broadcast>/broadcast.json   its description (BroadcastInfo), written once
                               000000/          first session: journal, chunks, segmenter.log, owner
                               000001/          the publisher reconnected within the reconnect window
                               closed           no further session may join; the recording is being finished
                               finished         everything is published; number of sessions; the folder may be deleted
                               run.lock         held by the flow run that publishes the broadcast
                               status.json      the run's latest status (not durable)

A process that adds a session or closes the broadcast holds ``lock``, so that a publisher that reconnects at the last
moment either joins the broadcast or starts a new one.
"""

from __future__ import annotations

import fcntl
import json
import logging
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from streamwave.errors import SpoolError
from streamwave.sources.address import is_stream_name
from streamwave.spool.follow import patience_s
from streamwave.spool.info import INFO as INFO
from streamwave.spool.info import BroadcastInfo as BroadcastInfo
from streamwave.spool.info import named_unix_ms, salvage_field, write_info
from streamwave.spool.journal import end_of, open_record_of, writer_alive
from streamwave.storage.outputs import outputs_below
from streamwave.untrusted import parse_json
from streamwave.util.files import fsync_folder, replace_file
from streamwave.util.locks import is_locked

log = logging.getLogger("streamwave.spool")

CLOSED, FINISHED, STATUS, RUN_LOCK, LOCK = "closed", "finished", "status.json", "run.lock", "lock"
#: In a session's folder: ID of its receiver.
OWNER = "owner"
#: Files in a session's folder that are copied to the following session: its owner, and the source that it pulls.
NOTES = (OWNER, "source.sha256")
#: In the spool: lock that serializes the opening of sessions.
OPENING = "opening.lock"
#: Opening a session takes milliseconds; a process that holds the lock for longer than this hangs.
OPENING_LIMIT_S = 5.0
#: Broadcasts that start in the same second are named after the following seconds, up to this far ahead; a name further
#: ahead comes from a clock that was wrong.
NAMES_AHEAD_MS = 60_000


class StreamLiveError(SpoolError):
    """Another publisher is publishing this stream."""


class BroadcastSpool:
    """The folder of one broadcast."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def stream(self) -> str:
        """Name of the stream."""
        return self.folder.parent.name

    @property
    def broadcast(self) -> str:
        """Name of the broadcast."""
        return self.folder.name

    def info(self) -> BroadcastInfo:
        """Read the broadcast's description.

        Raises:
            SpoolError: the description is missing or damaged.
        """
        try:
            return BroadcastInfo.model_validate_json((self.folder / INFO).read_bytes())
        except (OSError, ValidationError):
            raise SpoolError(f"{self.folder} is not the spool of a broadcast; remove it") from None

    def restore(self, output: str, window_ms: int, remote: str = "") -> BroadcastInfo:
        """Recreate a damaged description, so that the received chunks are still published.

        ``output`` is the root of all outputs; ``remote`` is the root of the spool if that is in a store. The title is lost;
        the damaged file is kept as ``broadcast.json.damaged``.

        Raises:
            SpoolError: the description cannot be read or written.
        """
        with self._locked():
            with suppress(SpoolError):
                return self.info()
            path = self.folder / INFO
            try:
                damaged = path.read_bytes()
                path.with_name(f"{INFO}.damaged").write_bytes(damaged)
                info = BroadcastInfo(
                    stream=self.stream,
                    broadcast=self.broadcast,
                    created_unix_ms=named_unix_ms(self.broadcast) or path.stat().st_mtime_ns // 1_000_000,
                    output=salvage_field(damaged, "output") or f"{output.rstrip('/')}/{self.stream}/{self.broadcast}",
                    reconnect_window_ms=window_ms,
                    spool=salvage_field(damaged, "spool") or _below(remote, self.stream, self.broadcast),
                )
                write_info(self.folder, info)
            except OSError as error:
                raise SpoolError(f"{path} is damaged and cannot be replaced ({error.strerror}); remove it") from None
        log.warning("%s/%s: %s was damaged and was recreated; the title is lost", self.stream, self.broadcast, INFO)
        return info

    def sessions(self) -> list[Path]:
        """The folders of its sessions, in order."""
        return sorted(path for path in self.folder.iterdir() if path.is_dir() and path.name.isdigit())

    def session_names(self) -> list[str]:
        """The names of its sessions, in order. Those of a finished broadcast remain known after their folders are deleted."""
        try:
            count = int((self.folder / FINISHED).read_bytes())
        except (OSError, ValueError):
            return [session.name for session in self.sessions()]
        return [f"{number:06d}" for number in range(count)]

    @property
    def closed(self) -> bool:
        """Whether no further session may join."""
        return (self.folder / CLOSED).exists()

    @property
    def finished(self) -> bool:
        """Whether the broadcast is completely published."""
        return (self.folder / FINISHED).exists()

    def mark_finished(self) -> None:
        """Record durably that everything is published. The session folders may be deleted from then on."""
        if self.finished:
            return
        try:
            replace_file(self.folder / FINISHED, str(len(self.sessions())).encode(), durable=True)
        except OSError:  # on a full disk, an empty file is still possible
            (self.folder / FINISHED).touch()
            fsync_folder(self.folder)

    def remove(self) -> None:
        """Delete the folder of a finished broadcast, and the stream's if that was its last."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()

    def ended_unix_ms(self) -> int | None:
        """When its last session ended; None while one is being received. Without sessions: when the broadcast was created."""
        sessions = self.sessions()
        return session_ended_unix_ms(sessions[-1]) if sessions else self.info().created_unix_ms

    def close_if_over(self, now_unix_ms: int) -> bool:
        """Close the broadcast if its last session ended longer ago than the reconnect window. Returns whether it is closed."""
        with self._locked():
            if self.closed:
                return True
            ended = self.ended_unix_ms()
            if ended is None or now_unix_ms - ended < self.info().reconnect_window_ms:
                return False
            return self._close()

    def close(self) -> None:
        """Close the broadcast now, without waiting for the reconnect window (a deliberate stop)."""
        with self._locked():
            self._close()

    def _close(self) -> bool:
        (self.folder / CLOSED).touch()
        fsync_folder(self.folder)
        return True

    def add_session(self, owner: str = "") -> Path | None:
        """Create the folder of a new session that ``owner`` receives; None if the broadcast is closed."""
        with self._locked():
            if self.closed:
                return None
            path = self.folder / f"{len(self.sessions()):06d}"
            path.mkdir()
            if owner:
                (path / OWNER).write_text(owner, encoding="utf-8")
            fsync_folder(self.folder)
            return path

    def hold_run(self) -> IO[bytes] | None:
        """Become the only run that publishes this broadcast, until the result is closed; None if there is another run."""
        file = (self.folder / RUN_LOCK).open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        return file

    def run_alive(self) -> bool:
        """Whether a run holds this broadcast. The kernel releases the lock as soon as the run's process dies."""
        return is_locked(self.folder / RUN_LOCK)

    def receiving(self, session: Path) -> bool:
        """Whether a segmenter is writing the session, so that more chunks may follow."""
        return writer_alive(session)

    def share(self, session: Path, name: str) -> None:
        """Make a file of a session available to later runs. Nothing to do here, because all runs use the same folder."""

    def hand_over(self) -> None:
        """Tell the receiving side that everything is published. Nothing to do here, because it uses the same folder."""

    def write_status(self, status: dict[str, object]) -> None:
        """Replace the run's status."""
        replace_file(self.folder / STATUS, json.dumps(status).encode())

    def status(self) -> dict[str, object]:
        """The run's latest status; empty if there is none."""
        try:
            found = parse_json((self.folder / STATUS).read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / LOCK).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def session_ended_unix_ms(session: Path) -> int | None:
    """When a session ended: the time in its end record, or, if its segmenter was killed, its last write. None: still open."""
    end = end_of(session)
    if end is not None:
        return end.ended_unix_ms
    if writer_alive(session):
        return None
    try:
        touched = max(path.stat().st_mtime_ns for path in (session, *session.iterdir())) // 1_000_000
    except OSError:
        return None  # files are being created and deleted, so it is alive
    # A segmenter that is just starting has not taken its lock yet.
    return touched if time.time_ns() // 1_000_000 - touched > patience_s(session) * 1000 else None


def broadcasts(root: Path, stream: str | None = None) -> list[BroadcastSpool]:
    """All broadcasts in the spool ``root``, oldest first."""
    pattern = f"{stream or '*'}/*/{INFO}"
    return [BroadcastSpool(path.parent) for path in sorted(root.glob(pattern))]


def abandoned(root: Path, stream: str, output: str, remote: str = "") -> list[BroadcastSpool]:
    """Broadcasts of ``stream`` left by killed runs of the command line, which have no service to complete them.

    A damaged description is recreated (see ``BroadcastSpool.restore``); a broadcast where that fails is left out, and
    logged.
    """
    found = []
    for spool in broadcasts(root, stream):
        if spool.finished or spool.run_alive() or any(map(writer_alive, spool.sessions())):
            continue
        try:
            if spool.restore(output, 0, remote).reconnect_window_ms == 0:
                found.append(spool)
        except (SpoolError, OSError) as error:
            log.error("%s/%s is skipped: %s", stream, spool.broadcast, error)
    return found


def open_session(
    root: Path,
    stream: str,
    *,
    output: str,
    window_ms: int,
    title: str = "",
    owner: str | None = None,
    remote: str = "",
    now_unix_ms: int | None = None,
) -> tuple[BroadcastSpool, Path]:
    """Open a new session of ``stream``: in its open broadcast within the reconnect window, else in a new broadcast.

    ``output`` is the root of all outputs; the broadcast gets ``output/<stream>/<broadcast>``. ``owner`` identifies the
    receiver: a stream has one owner at a time, and only that owner may start a session while another one is open. None
    stands for a new owner. ``remote`` is the root of the spool if that is in a store.

    Raises:
        StreamLiveError: another owner receives this stream.
        SpoolError: the name is not allowed, or another process holds the spool's lock for too long.
    """
    if not is_stream_name(stream):
        raise SpoolError(f"{stream[:70]!r} is not a valid stream name; use a-z, 0-9, - and _, at most 64 characters")
    now = now_unix_ms if now_unix_ms is not None else time.time_ns() // 1_000_000
    owner = owner or secrets.token_hex(8)
    with _opening(root):
        known = [spool for spool in reversed(broadcasts(root, stream)) if not spool.finished]
        for found in known:
            _check_owner(found, owner)
        for found in known:
            try:
                found.restore(output, window_ms, remote)
                session = None if found.close_if_over(now) else found.add_session(owner)
            except SpoolError as error:
                # A damaged broadcast must not prevent the stream from going live.
                log.error("%s/%s is skipped: %s", stream, found.broadcast, error)
                continue
            if session is not None:
                return found, session
        spool = _create(root, stream, output, window_ms, title, now, remote)
        session = spool.add_session(owner)
        assert session is not None
        return spool, session


@contextmanager
def _opening(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with (root / OPENING).open("ab") as file:
        end = time.monotonic() + OPENING_LIMIT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise SpoolError(f"another process has held {root / OPENING} for too long; stop it") from None
                time.sleep(0.01)
        yield


def _check_owner(spool: BroadcastSpool, owner: str) -> None:
    """Raise StreamLiveError if another owner receives the newest session."""
    for session in spool.sessions()[-1:]:
        try:
            other = (session / OWNER).read_text(encoding="utf-8")
        except OSError:
            continue  # written by an earlier version, without owners
        if other != owner and session_ended_unix_ms(session) is None:
            raise StreamLiveError(f"{spool.stream} is live from another source; stop that one first")


def _create(root: Path, stream: str, output: str, window_ms: int, title: str, now: int, remote: str) -> BroadcastSpool:
    # The names of a stream's broadcasts sort by time, so one that starts in the same second as another takes the next second.
    known = max((named_unix_ms(one.broadcast) or 0 for one in broadcasts(root, stream)), default=0)
    begins = known + 1000 if now - now % 1000 <= known < now + NAMES_AHEAD_MS else now
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(begins / 1000))
    # The random part keeps the name unique: a deleted broadcast may have had the same second.
    name = f"{stamp}-{secrets.token_hex(2)}"
    folder = root / stream / name
    folder.mkdir(parents=True)
    info = BroadcastInfo(
        stream=stream,
        broadcast=name,
        created_unix_ms=now,
        output=outputs_below(output, f"{stream}/{name}"),
        title=title,
        reconnect_window_ms=window_ms,
        spool=_below(remote, stream, name),
    )
    write_info(folder, info)
    fsync_folder(folder.parent)
    return BroadcastSpool(folder)


def _below(remote: str, stream: str, broadcast: str) -> str:
    return f"{remote.rstrip('/')}/{stream}/{broadcast}" if remote else ""


def next_folder(session: Path) -> Path | None:
    """Create the session after ``session``, with a copy of its notes; None without a broadcast, or if that is closed."""
    if not (session.parent / INFO).exists():
        return None
    following = BroadcastSpool(session.parent).add_session()
    if following is not None:
        for name in NOTES:
            with suppress(FileNotFoundError):
                shutil.copy(session / name, following / name)
    return following


def had_pictures_before(session: Path) -> bool | None:
    """Whether the last session before ``session`` in its broadcast had video; None if nothing was received before."""
    if not (session.parent / INFO).exists():
        return None
    earlier = (
        open_record_of(one) for one in reversed(BroadcastSpool(session.parent).sessions()) if one.name < session.name
    )
    return next((opened.source.video is not None for opened in earlier if opened is not None), None)
