"""The receiving side of a broadcast whose spool is in a store: stores what only it knows, and learns how the run is.

What the run says is put where everybody on this machine looks for it: its status into ``status.json``, its life into the
lock ``run.lock``, which is held here on behalf of a run elsewhere. The receiving side decides when a broadcast is over.
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
from streamwave.spool.remote.mirror import clear_published, mirror_trouble, mirrored, store_rest
from streamwave.spool.remote.objects import METADATA, RECEIVER, RUN, RunWord, open_spool, read_word, remove_broadcast
from streamwave.spool.remote.sign import Sign
from streamwave.spool.stop import request_stop
from streamwave.util.files import replace_file

log = logging.getLogger("streamwave.spool")

#: In the folder of a finished broadcast: the store has nothing of it any more.
CLEARED = "cleared"
#: One process at a time exchanges.
LOCK = "exchange.lock"
LOOK_S = 1.0
#: How often the receiving side gives a sign of life.
SIGN_S = 5.0
#: A run that has not given a sign of life for this long is dead. It gives one a second.
RUN_LIMIT_S = 10.0


class Exchange:
    """One broadcast; ``options`` are those of the store."""

    def __init__(self, spool: BroadcastSpool, options: Mapping[str, Any], *, run_limit_s: float = RUN_LIMIT_S) -> None:
        self.spool = spool
        self._url, self._options, self._run_limit_s = spool.info().spool, options, run_limit_s
        # Quick: what is not stored now is with the next look.
        self._store = open_spool(self._url, options, quick=True)
        self._machine = secrets.token_hex(8)
        self._pushed: dict[str, bytes] = {}
        self._sign, self._signed_at = 0, 0.0
        self._life = Sign(LOOK_S)
        self._held: IO[bytes] | None = None
        self._rest: threading.Thread | None = None
        self._trouble = ""
        self._status: dict[str, Any] = {}

    @property
    def cleared(self) -> bool:
        """Whether there is nothing to be done any more."""
        return (self.spool.folder / CLEARED).exists() or not self.spool.folder.exists()

    def look(self) -> None:
        """Do what is due. Whatever goes wrong is logged, and done by the next look."""
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
            log.exception("%s/%s is not looked after; tried again", self.spool.stream, self.spool.broadcast)
        else:
            self._trouble = ""

    def _know_nothing(self) -> None:
        """The store does not answer: a run that was alive is taken for alive, and people are told what we know."""
        with suppress(OSError):
            if not self._life.seen and self.spool.status().get("flow_run_id"):
                self._hold(True)  # there was one before we came
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
        """Let go of what is held on behalf of a run, which may go on."""
        self._hold(False)

    def _look(self) -> None:
        if self.spool.finished:  # by this machine, which has cut it off
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
        """Give sessions whose segmenter has died their end, and close the broadcast after its reconnect window."""
        sessions = self.spool.sessions()
        for session in sessions:
            if end_of(session) is None and session_ended_unix_ms(session) is not None:
                end_journal(session, "segmenter died", "the segmenter died; what it had received is published")
        if sessions and not self.spool.closed:
            self.spool.close_if_over(time.time_ns() // 1_000_000)

    def _store_rest(self) -> None:
        """Have a thread store what segmenters that are gone have left."""
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
            with suppress(OutputError, OSError):  # the next look tries again, the status says why
                whole = open_spool(self._url, self._options)
                for session in left:
                    store_rest(session, whole)

        self._rest = threading.Thread(target=store, name="rest", daemon=True)
        self._rest.start()

    def _hear(self, data: bytes | None) -> None:
        """Take over what the run says of itself."""
        word = read_word(data)
        if self._life.saw(data) and word is not None:
            self._take_over(word)
        alive = word is not None and not word.ended and self._life.silent_s < self._run_limit_s
        if word is not None and not alive and (count := self._store.get(FINISHED)) is not None:
            self._finish(count)
        self._hold(alive and word is not None and not word.local)

    def _take_over(self, word: RunWord) -> None:
        self._status = word.status
        if word.status and not self.spool.finished:  # it may have been cut off since we looked
            self.spool.write_status(self._completed(word.status))
        for session in self.spool.sessions():
            if session.name in word.done:
                clear_published(session, word.done[session.name])

    def _completed(self, status: dict[str, Any]) -> dict[str, Any]:
        """The run's status with what only this machine knows: all that was received, and what the store refuses."""
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
        """The run has published everything."""
        receiving = [session for session in self.spool.sessions() if writer_alive(session)]
        if receiving:
            # It took this machine for lost. The publisher comes back with a new broadcast.
            log.error("%s/%s was ended without us; what came since is lost", self.spool.stream, self.spool.broadcast)
            for session in receiving:
                request_stop(session, at_once=True)
        self.spool.close()
        replace_file(self.spool.folder / FINISHED, count, durable=True)
        for session in self.spool.sessions():
            shutil.rmtree(session, ignore_errors=True)
        self._clear()

    def _clear(self) -> None:
        self._hold(False)
        # What somebody was still storing may come after the first time.
        if remove_broadcast(self._store) == 0:
            (self.spool.folder / CLEARED).touch()


@contextmanager
def exchanging(spool: BroadcastSpool, options: Mapping[str, Any]) -> Iterator[None]:
    """Look after one broadcast for as long as this lasts, and once more at its end."""
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
    """Remove from the store what it still has of a broadcast that is finished; a failure is logged."""
    exchange = Exchange(spool, options)
    for _ in range(2):
        exchange.look()
