"""Publishing to several places at once: each has a thread and a bounded queue, so that none waits for another.

A chunk counts as published once one place has stored it; the others follow at their own pace, from the files of the
chunk while those lie in their queue, else from the place that is furthest. What a place holds, its own ledger says: that is
what it goes on from after any interruption (docs/decisions/0010-several-outputs.md).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from streamwave.errors import FencedError, OutputError, StreamWaveError
from streamwave.manifest.ledger import BroadcastLine, Ledger
from streamwave.manifest.packaged import PackagedChunk
from streamwave.manifest.progress import Progress
from streamwave.manifest.timeline import Timeline
from streamwave.publish.publication import Publication
from streamwave.publish.queue import Lane, Parcel

#: How long an end waits for threads that are in the middle of a request.
JOIN_S = 5.0
#: How long a new run waits for places that do not answer, before it goes on with those that do.
BEGIN_S = 30.0
#: The same once a place has answered that holds all that is known to be published, so that no other can know more.
BEGIN_KNOWN_S = 2.0


class Targets:
    """One broadcast being published to one or several places by this run. Thread-safe; chunks must come in order.

    ``places`` are (address, function that opens the publication there, which may raise OutputError at any time).
    ``patience_s`` is how long a chunk may wait for places that all refuse.
    """

    def __init__(self, places: Sequence[tuple[str, Callable[[], Publication]]], *, patience_s: float) -> None:
        self.changed = threading.Condition()
        self.closing = self.ending = self.hurried = False
        self._ended_at = 0.0
        #: Called with a sentence, from any thread, when a place begins to refuse or can be written again.
        self.on_change: Callable[[str], None] = lambda news: None
        self.header: BroadcastLine | None = None
        self.info: dict[str, str] | None = None
        self.patience_s = patience_s
        self._publish_lock = threading.Lock()
        self._closed = threading.Event()
        self._started = False
        self.lanes = [Lane(self, number, url, make) for number, (url, make) in enumerate(places)]

    @property
    def leader(self) -> Publication:
        """The place that is furthest.

        Raises:
            OutputError: none could be opened.
        """
        self._start()
        found = [lane for lane in self.lanes if lane.publication is not None]
        if not found:
            raise OutputError(self.lanes[0].error or f"{self.lanes[0].url} does not answer")
        best = max(found, key=lambda lane: (lane.progress.ended, lane.progress.chunks, -lane.number))
        assert best.publication is not None
        return best.publication

    @property
    def publications(self) -> list[Publication | None]:
        """All places in their order; None for one that could not be opened yet."""
        return [lane.publication for lane in self.lanes]

    @property
    def ledger(self) -> Ledger:
        """The ledger of the place that is furthest."""
        return self.leader.ledger

    @property
    def timeline(self) -> Timeline:
        """What has been published where that is most."""
        return self.leader.timeline

    @property
    def progress(self) -> Progress:
        """How far the place is that is furthest; never waits."""
        return max((lane.progress for lane in self.lanes), key=lambda progress: (progress.ended, progress.chunks))

    @property
    def latencies_ms(self) -> list[int]:
        """Of the last chunks at that place: milliseconds from the last frame's arrival to the manifest that names it."""
        found = [lane.publication for lane in self.lanes if lane.publication is not None]
        best = max(found, key=lambda one: one.progress.chunks, default=None)
        return list(best.latencies_ms) if best is not None else []

    def latency(self) -> dict[str, int]:
        """``median``, ``p95`` and ``last`` of these; empty while there are none."""
        latencies = self.latencies_ms
        ranked = sorted(latencies)
        if not ranked:
            return {}
        p95 = ranked[min(len(ranked) - 1, len(ranked) * 95 // 100)]
        return {"median": ranked[len(ranked) // 2], "p95": p95, "last": latencies[-1]}

    def lags(self) -> list[Mapping[str, Any]]:
        """Of every place: ``output``, ``chunks`` and ``lag_chunks``, ``lag_ms`` (media behind the furthest), ``error``."""
        best = self.progress
        return [
            {
                "output": lane.url,
                "chunks": lane.progress.chunks,
                "lag_chunks": best.chunks - lane.progress.chunks,
                "lag_ms": max(0, best.total_ms - lane.progress.total_ms),
                "error": lane.error,
            }
            for lane in self.lanes
        ]

    def _start(self, *, known_chunks: int | None = None) -> None:
        """Open all places; go on as soon as all have answered, or the time for that is over and one has."""
        with self.changed:
            if self._started:
                return
            self._started = True
            for lane in self.lanes:
                lane.thread.start()
            self._wait_for_answers(known_chunks)

    def _wait_for_answers(self, known_chunks: int | None) -> None:
        def settled() -> bool:
            return all(lane.ready or lane.error for lane in self.lanes)

        def is_known() -> bool:
            return known_chunks is not None and any(
                lane.ready and lane.progress.chunks >= known_chunks for lane in self.lanes
            )

        if known_chunks is not None and self.changed.wait_for(settled, BEGIN_KNOWN_S):
            return
        self.changed.wait_for(lambda: settled() or is_known(), BEGIN_S)

    def begin(self, header: BroadcastLine, *, known_chunks: int | None = None) -> None:
        """Take over the publishing at every place, and start the ledgers unless there are some.

        ``known_chunks``: how many chunks are known to be published where that is most. Once a place holds these, hardly any
        time is given to others that do not answer.

        Raises:
            OutputError: no place can be used: it holds another broadcast, or cannot be written.
        """
        self.header = header
        with self.changed:
            begun = self._started
            for lane in self.lanes if begun else []:
                lane.ready = False
        self._start(known_chunks=known_chunks)
        with self.changed:
            if begun:
                self._wait_for_answers(known_chunks)
            if not any(lane.ready for lane in self.lanes):
                fatal = next((lane.fatal for lane in self.lanes if lane.fatal is not None), None)
                raise fatal or OutputError(self.lanes[0].error or f"{self.lanes[0].url} does not answer")

    def next_chunk(self, session: str) -> int | None:
        """Number of the first chunk of ``session`` that no place has; None if the session is complete."""
        return self.leader.next_chunk(session)

    def describe(self, info: dict[str, str]) -> None:
        """Have manifests say ``info`` of the broadcast from the next chunk on (not sooner: all ledgers are the same)."""
        self.info = dict(info)

    def publish(
        self,
        chunk: PackagedChunk,
        session: str,
        period: str,
        wall_unix_ms: int | None = None,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        """Hand the next chunk to all places and wait until one has stored it. Repeating the last one is harmless.

        ``done`` is called once no place needs the chunk's files any more. The other arguments are ``Publication.publish``'s.

        Raises:
            MediaError: it does not join on.
            OutputError: all places have refused it for longer than ``patience_s``; nothing names what is missing.
            FencedError: another run publishes this broadcast now.
        """
        self._start()
        end = time.monotonic() + self.patience_s
        with self._publish_lock:
            parcel = Parcel(chunk, session, period, wall_unix_ms, done, self.info, open_lanes=len(self.lanes))
            left_out = 0
            for lane in self.lanes:
                try:
                    lane.parcels.put_nowait(parcel)
                except queue.Full:
                    with self.changed:
                        lane.skipped = parcel
                    left_out += 1
            with self.changed:
                parcel.open_lanes -= left_out
                last = parcel.open_lanes == 0
        if last:
            done()
        with self.changed:
            while not parcel.stored:
                fatal = parcel.fault or self._fatal()
                if fatal is not None:
                    raise fatal
                errors = [lane.error for lane in self.lanes if lane.error]
                if time.monotonic() >= end and len(errors) == len(self.lanes):
                    raise OutputError(errors[0])
                if self.closing:
                    raise FencedError("the publishing was given up")
                self.changed.wait(0.2)
            if parcel.fault is not None:
                raise parcel.fault

    def _fatal(self) -> Exception | None:
        """What ended a place for good: being fenced out of one is being fenced out of all."""
        for lane in self.lanes:
            if isinstance(lane.fatal, FencedError):
                return lane.fatal
        if all(lane.fatal for lane in self.lanes):
            return self.lanes[0].fatal
        return None

    def finish(self) -> None:
        """The broadcast is complete: static manifests at every place, as soon as it has caught up.

        Places that do not get there within the patience stay behind; how far, ``lags`` says.

        Raises:
            OutputError: no place could be finished.
            FencedError: another run publishes this broadcast now.
        """
        self.finish_first()
        self.wait_for_others(self.patience_s)

    def finish_first(self) -> None:
        """As ``finish``, but waits for no place longer than until the first one is complete."""
        self._start()
        self._ended_at = time.monotonic()
        self.ending = True
        with self.changed:
            while not any(lane.finished for lane in self.lanes):
                if (fatal := self._fatal()) is not None:
                    raise fatal
                errors = [lane.error for lane in self.lanes if lane.error]
                if time.monotonic() >= self._ended_at + self.patience_s and len(errors) == len(self.lanes):
                    raise OutputError(errors[0])
                self.changed.wait(0.2)

    def wait_for_others(
        self, limit_s: float, meanwhile: Callable[[], None] = lambda: None, *, until_tried: bool = True
    ) -> bool:
        """Whether all places are complete, at most ``limit_s`` after ``finish_first`` was called.

        With ``until_tried``, one that refuses nothing may take longer. ``meanwhile`` is called several times a second.
        ``hurry`` ends the waiting.

        Raises:
            FencedError: another run publishes this broadcast now.
        """
        while True:
            with self.changed:
                if all(lane.finished for lane in self.lanes):
                    return True
                if (fatal := self._fatal()) is not None:
                    raise fatal
                tried = not until_tried or all(lane.finished or lane.error for lane in self.lanes)
                if self.hurried or (tried and self._over(limit_s)):
                    return False
                self.changed.wait(0.2)
            meanwhile()

    def _over(self, limit_s: float) -> bool:
        return all(lane.finished or lane.fatal for lane in self.lanes) or time.monotonic() >= self._ended_at + limit_s

    @property
    def patience_left_s(self) -> float:
        """How much longer places that are behind are waited for, in seconds."""
        return max(0.0, self._ended_at + self.patience_s - time.monotonic())

    def hurry(self) -> None:
        """Wait no longer for places that are behind. May be called by a signal's handler."""
        self.hurried = True

    @property
    def writable(self) -> set[str]:
        """Addresses of the places that refuse nothing at the moment."""
        return {lane.url for lane in self.lanes if lane.ready and lane.error is None}

    @property
    def complete(self) -> list[str]:
        """Addresses of the places that have all of the finished broadcast."""
        return [lane.url for lane in self.lanes if lane.finished]

    @property
    def left_behind(self) -> dict[str, str]:
        """The other places, and what is wrong with each."""
        return {lane.url: lane.error or "it is behind" for lane in self.lanes if not lane.finished}

    def pause(self, seconds: float) -> None:
        """Wait that long, or until the end."""
        self._closed.wait(seconds)

    def discard(self) -> None:
        """Remove the unfinished broadcast everywhere (see ``Publication.discard``)."""
        self._end_threads()
        faults = []
        for publication in filter(None, self.publications):
            try:
                publication.discard()
            except StreamWaveError as error:
                faults.append(error)
        if faults:
            raise faults[0]

    def _end_threads(self) -> None:
        self.closing = True
        self._closed.set()
        with self.changed:
            self.changed.notify_all()
        end = time.monotonic() + JOIN_S
        for lane in self.lanes:
            if lane.thread.ident is not None and lane.thread is not threading.current_thread():
                lane.thread.join(max(0.0, end - time.monotonic()))

    def close(self) -> None:
        """End the threads."""
        self._end_threads()
        for lane in self.lanes:
            if lane.publication is not None:
                lane.publication.close(wait_for_puts=not lane.thread.is_alive())
