"""The receiving side of a broadcast whose spool is in a store: uploads its own state and reads that of the run.

The state of the run is put where all programs on this machine look for it: its status into ``status.json``, and
``run.lock`` is held here on behalf of a run on another machine. The receiving side decides when a broadcast is over.
"""

from __future__ import annotations

import fcntl
import json
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any

from streamwave.errors import OutputError, SpoolError
from streamwave.spool.broadcast import CLOSED, FINISHED, INFO, BroadcastSpool, session_ended_unix_ms
from streamwave.spool.ending import end_journal
from streamwave.spool.journal import JOURNAL, end_of, received_ms, writer_alive
from streamwave.spool.remote.heartbeat import Heartbeat
from streamwave.spool.remote.mirror import clear_published, mirror_trouble, mirrored, store_rest
from streamwave.spool.remote.objects import (
    METADATA,
    RECEIVER,
    RUN,
    RunRecord,
    open_spool,
    read_run_record,
    remove_broadcast,
)
from streamwave.spool.stop import request_stop
from streamwave.util.files import replace_file

log = logging.getLogger("streamwave.spool")

#: In the folder of a finished broadcast: its objects have been deleted from the store.
CLEARED = "cleared"
#: Lock that serializes the exchanges of different processes.
LOCK = "exchange.lock"
LOOK_S = 1.0
#: Interval of the receiving side's heartbeat.
SIGN_S = 5.0
#: A run without a heartbeat for this long is dead. Its interval is one second.
RUN_LIMIT_S = 10.0


class Exchange:
    """The exchange of one broadcast; ``options`` are those of the store."""

    def __init__(self, spool: BroadcastSpool, options: Mapping[str, Any], *, run_limit_s: float = RUN_LIMIT_S) -> None:
        self.spool = spool
        self._url, self._options, self._run_limit_s = spool.info().spool, options, run_limit_s
        # Quick, i.e. without retries: the next look tries again.
        self._store = open_spool(self._url, options, quick=True)
        self._machine = secrets.token_hex(8)
        self._pushed: dict[str, bytes] = {}
        self._sign, self._signed_at = 0, 0.0
        self._life = Heartbeat(LOOK_S)
        self._held: IO[bytes] | None = None
        self._rest: threading.Thread | None = None
        self._trouble = ""
        self._status: dict[str, Any] = {}

    @property
    def cleared(self) -> bool:
        """Whether the store has been cleared, so that nothing is left to do."""
        return (self.spool.folder / CLEARED).exists() or not self.spool.folder.exists()

    def look(self) -> None:
        """Do one round of the exchange. Failures are logged, and the next round tries again."""
        try:
            with self._alone():
                if not self.cleared:
                    self._look()
        except (OutputError, SpoolError, OSError) as error:
            if str(error) != self._trouble:
                log.warning("%s/%s: %s", self.spool.stream, self.spool.broadcast, error)
            self._trouble = str(error)
            self._know_nothing()
        except Exception:
            log.exception("%s/%s: the exchange failed; retrying", self.spool.stream, self.spool.broadcast)
        else:
            self._trouble = ""

    def _know_nothing(self) -> None:
        """The store does not answer: assume that a run that was alive still is, and keep the status up to date."""
        with suppress(OSError):
            if not self._life.seen and self.spool.status().get("flow_run_id"):
                self._hold(True)  # the status comes from a run before our first read
            if self._status and not self.spool.finished:
                self.spool.write_status(self._completed(self._status))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self.spool.folder.exists():
            yield
            return
        with (self.spool.folder / LOCK).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def close(self) -> None:
        """Release the lock that is held on behalf of a run; the run may continue."""
        self._hold(False)

    def _look(self) -> None:
        if self.spool.finished:  # ended on this machine, without the run
            self._clear()
            return
        self._end_what_is_over()
        self._store_rest()
        self._push(INFO, (self.spool.folder / INFO).read_bytes())
        with suppress(FileNotFoundError):
            self._push(METADATA, (self.spool.folder / METADATA).read_bytes())
        if self.spool.closed:
            self._push(CLOSED, str(len(self.spool.sessions())).encode())
        if time.monotonic() - self._signed_at >= SIGN_S:
            self._sign += 1
            self._store.put(RECEIVER, json.dumps({"machine": self._machine, "sign": self._sign}).encode())
            self._signed_at = time.monotonic()
        self._hear(self._store.get(RUN))

    def _push(self, name: str, data: bytes) -> None:
        if self._pushed.get(name) != data:
            self._store.put(name, data)
            self._pushed[name] = data

    def _end_what_is_over(self) -> None:
        """End the journals of sessions whose segmenter has died, and close the broadcast after its reconnect window."""
        sessions = self.spool.sessions()
        for session in sessions:
            if end_of(session) is None and session_ended_unix_ms(session) is not None:
                end_journal(
                    session, "segmenter died", "the segmenter died; everything that it had received is published"
                )
        if sessions and not self.spool.closed:
            self.spool.close_if_over(time.time_ns() // 1_000_000)

    def _store_rest(self) -> None:
        """Start a thread that uploads what dead segmenters have left."""
        if self._rest is not None and self._rest.is_alive():
            return
        left = [
            session
            for session in self.spool.sessions()
            if not mirrored(session)[1] and not writer_alive(session) and (session / JOURNAL).exists()
        ]
        if not left:
            return

        def store() -> None:
            with suppress(OutputError, OSError):  # the next round tries again; the status has the error
                whole = open_spool(self._url, self._options)
                for session in left:
                    store_rest(session, whole)

        self._rest = threading.Thread(target=store, name="rest", daemon=True)
        self._rest.start()

    def _hear(self, data: bytes | None) -> None:
        """Process the run's record: status, published chunks, and whether the run is alive."""
        record = read_run_record(data)
        if self._life.saw(data) and record is not None:
            self._take_over(record)
        alive = record is not None and not record.ended and self._life.silent_s < self._run_limit_s
        if record is not None and not alive and (count := self._store.get(FINISHED)) is not None:
            self._finish(count)
        self._hold(alive and record is not None and not record.local)

    def _take_over(self, record: RunRecord) -> None:
        self._status = record.status
        if record.status and not self.spool.finished:  # it may have been ended since the check
            self.spool.write_status(self._completed(record.status))
        for session in self.spool.sessions():
            if session.name in record.done:
                clear_published(session, record.done[session.name])

    def _completed(self, status: dict[str, Any]) -> dict[str, Any]:
        """The run's status, completed with what only this machine knows: everything received, and errors of uploads."""
        sessions, taken = self.spool.sessions(), str(status.get("session") or "")
        told_ms, lag_ms = int(status.get("received_ms") or 0), int(status.get("lag_ms") or 0)
        received = {session.name: received_ms(session) for session in sessions if session.name >= taken}
        beyond_ms = sum(received.values()) - (told_ms if taken in received else 0)
        troubles = [text for session in sessions if (text := mirror_trouble(session))] or [self._trouble]
        warnings = [*(status.get("warnings") or []), *(f"the spool {text}" for text in troubles if text)]
        return status | {
            "received_ms": max(told_ms, received.get(taken, 0)),
            "lag_ms": max(lag_ms, lag_ms + beyond_ms),
            "warnings": list(dict.fromkeys(warnings))[-20:],
        }

    def _hold(self, held: bool) -> None:
        if held and self._held is None:
            self._held = self.spool.hold_run()
        elif not held and self._held is not None:
            self._held.close()
            self._held = None

    def _finish(self, count: bytes) -> None:
        """End the broadcast here, because the run has published everything."""
        receiving = [session for session in self.spool.sessions() if writer_alive(session)]
        if receiving:
            # The run assumed that this machine was lost. When the publisher reconnects, a new broadcast starts.
            log.error(
                "%s/%s was ended by its run while being received; what arrived since is lost",
                self.spool.stream,
                self.spool.broadcast,
            )
            for session in receiving:
                request_stop(session, at_once=True)
        self.spool.close()
        replace_file(self.spool.folder / FINISHED, count, durable=True)
        for session in self.spool.sessions():
            shutil.rmtree(session, ignore_errors=True)
        self._clear()

    def _clear(self) -> None:
        self._hold(False)
        # Repeated until nothing is left, because an upload in progress may add objects after the first deletion.
        if remove_broadcast(self._store) == 0:
            (self.spool.folder / CLEARED).touch()


@contextmanager
def exchanging(spool: BroadcastSpool, options: Mapping[str, Any]) -> Iterator[None]:
    """Run the exchange of one broadcast in a thread while the context is open, and twice more at its end."""
    exchange, stopping = Exchange(spool, options), threading.Event()

    def run() -> None:
        while not stopping.is_set():
            exchange.look()
            stopping.wait(LOOK_S)

    thread = threading.Thread(target=run, name="exchange", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(30)
        for _ in range(2):
            exchange.look()
        exchange.close()


def clear(spool: BroadcastSpool, options: Mapping[str, Any]) -> None:
    """Delete a finished broadcast from the store. Failures are logged."""
    exchange = Exchange(spool, options)
    for _ in range(2):
        exchange.look()
