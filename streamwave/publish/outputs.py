"""Publishing to several outputs at once: each has a thread and a bounded queue, so that none waits for another.

A chunk counts as published once one output has stored it; the others follow at their own pace, from the files of the
chunk while those lie in their queue, else from the output that is furthest. What an output holds, its own ledger says: that is
what it goes on from after any interruption (docs/decisions/0010-several-outputs.md).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence

from streamwave.errors import FencedError, OutputError, StreamWaveError
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import BroadcastLine
from streamwave.manifest.packaged import PackagedChunk
from streamwave.manifest.timeline import Timeline
from streamwave.publish.publication import Publication
from streamwave.publish.queue import OutputQueue, Parcel
from streamwave.publish.standing import Standing

#: How long an end waits for threads that are in the middle of a request.
JOIN_S = 5.0
#: How long a new run waits for outputs that do not answer, before it goes on with those that do.
BEGIN_S = 30.0
#: The same once an output has answered that holds all that is known to be published, so that no other can know more.
BEGIN_KNOWN_S = 2.0


class Outputs(Standing):
    """One broadcast being published to one or several outputs by this run. Thread-safe; chunks must come in order.

    ``outputs`` are (address, function that opens the publication there, which may raise OutputError at any time).
    ``patience_s`` is how long a chunk may wait for outputs that all refuse.
    """

    def __init__(self, outputs: Sequence[tuple[str, Callable[[], Publication]]], *, patience_s: float) -> None:
        self.changed = threading.Condition()
        self.closing = self.ending = self.hurried = False
        self._ended_at = 0.0
        #: Called with a sentence, from any thread, when an output begins to refuse or can be written again.
        self.on_change: Callable[[str], None] = lambda news: None
        self.header: BroadcastLine | None = None
        self.info: dict[str, str] | None = None
        self.patience_s = patience_s
        self._publish_lock = threading.Lock()
        self._closed = threading.Event()
        self._started = False
        self.queues = [OutputQueue(self, number, url, make) for number, (url, make) in enumerate(outputs)]

    @property
    def leader(self) -> Publication:
        """The output that is furthest.

        Raises:
            OutputError: none could be opened.
        """
        self._start()
        found = [output for output in self.queues if output.publication is not None]
        if not found:
            raise OutputError(self.queues[0].error or f"{self.queues[0].url} does not answer")
        best = max(found, key=lambda output: (output.progress.ended, output.progress.chunks, -output.number))
        assert best.publication is not None
        return best.publication

    @property
    def publications(self) -> list[Publication | None]:
        """All outputs in their order; None for one that could not be opened yet."""
        return [output.publication for output in self.queues]

    @property
    def ledger(self) -> Ledger:
        """The ledger of the output that is furthest."""
        return self.leader.ledger

    @property
    def timeline(self) -> Timeline:
        """What has been published where that is most."""
        return self.leader.timeline

    def _start(self, *, known_chunks: int | None = None) -> None:
        """Open all outputs; go on as soon as all have answered, or the time for that is over and one has."""
        with self.changed:
            if self._started:
                return
            self._started = True
            for output in self.queues:
                output.thread.start()
            self._wait_for_answers(known_chunks)

    def _wait_for_answers(self, known_chunks: int | None) -> None:
        def settled() -> bool:
            return all(output.ready or output.error for output in self.queues)

        def is_known() -> bool:
            return known_chunks is not None and any(
                output.ready and output.progress.chunks >= known_chunks for output in self.queues
            )

        if known_chunks is not None and self.changed.wait_for(settled, BEGIN_KNOWN_S):
            return
        self.changed.wait_for(lambda: settled() or is_known(), BEGIN_S)

    def begin(self, header: BroadcastLine, *, known_chunks: int | None = None) -> None:
        """Take over the publishing at every output, and start the ledgers unless there are some.

        ``known_chunks``: how many chunks are known to be published where that is most. Once an output holds these, hardly any
        time is given to others that do not answer.

        Raises:
            OutputError: no output can be used: it holds another broadcast, or cannot be written.
        """
        self.header = header
        with self.changed:
            begun = self._started
            for output in self.queues if begun else []:
                output.ready = False
        self._start(known_chunks=known_chunks)
        with self.changed:
            if begun:
                self._wait_for_answers(known_chunks)
            if not any(output.ready for output in self.queues):
                fatal = next((output.fatal for output in self.queues if output.fatal is not None), None)
                raise fatal or OutputError(self.queues[0].error or f"{self.queues[0].url} does not answer")

    def next_chunk(self, session: str) -> int | None:
        """Number of the first chunk of ``session`` that no output has; None if the session is complete."""
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
        """Hand the next chunk to all outputs and wait until one has stored it. Repeating the last one is harmless.

        ``done`` is called once no output needs the chunk's files any more. The other arguments are ``Publication.publish``'s.

        Raises:
            MediaError: it does not join on.
            OutputError: all outputs have refused it for longer than ``patience_s``; nothing names what is missing.
            FencedError: another run publishes this broadcast now.
        """
        self._start()
        end = time.monotonic() + self.patience_s
        with self._publish_lock:
            parcel = Parcel(chunk, session, period, wall_unix_ms, done, self.info, open_queues=len(self.queues))
            left_out = 0
            for output in self.queues:
                try:
                    output.parcels.put_nowait(parcel)
                except queue.Full:
                    with self.changed:
                        output.skipped = parcel
                    left_out += 1
            with self.changed:
                parcel.open_queues -= left_out
                last = parcel.open_queues == 0
        if last:
            done()
        with self.changed:
            while not parcel.stored:
                fatal = parcel.fault or self.fatal
                if fatal is not None:
                    raise fatal
                if time.monotonic() >= end and (refusal := self.refusal):
                    raise OutputError(refusal)
                if self.closing:
                    raise FencedError("the publishing was given up")
                self.changed.wait(0.2)
            if parcel.fault is not None:
                raise parcel.fault

    def finish(self) -> None:
        """The broadcast is complete: static manifests at every output, as soon as it has caught up.

        Places that do not get there within the patience stay behind; how far, ``lags`` says.

        Raises:
            OutputError: no output could be finished.
            FencedError: another run publishes this broadcast now.
        """
        self.finish_first()
        self.wait_for_others(self.patience_s)

    def finish_first(self) -> None:
        """As ``finish``, but waits for no output longer than until the first one is complete."""
        self._start()
        self._ended_at = time.monotonic()
        self.ending = True
        with self.changed:
            while not any(output.finished for output in self.queues):
                if (fatal := self.fatal) is not None:
                    raise fatal
                if not self.patience_left_s and (refusal := self.refusal):
                    raise OutputError(refusal)
                self.changed.wait(0.2)

    def wait_for_others(
        self, limit_s: float, meanwhile: Callable[[], None] = lambda: None, *, until_tried: bool = True
    ) -> bool:
        """Whether all outputs are complete, at most ``limit_s`` after ``finish_first`` was called.

        With ``until_tried``, one that refuses nothing may take longer. ``meanwhile`` is called several times a second.
        ``hurry`` ends the waiting.

        Raises:
            FencedError: another run publishes this broadcast now.
        """
        while True:
            with self.changed:
                if all(output.finished for output in self.queues):
                    return True
                if (fatal := self.fatal) is not None:
                    raise fatal
                tried = not until_tried or all(output.finished or output.error for output in self.queues)
                if self.hurried or (tried and self._over(limit_s)):
                    return False
                self.changed.wait(0.2)
            meanwhile()

    def _over(self, limit_s: float) -> bool:
        return (
            all(output.finished or output.fatal for output in self.queues)
            or time.monotonic() >= self._ended_at + limit_s
        )

    @property
    def patience_left_s(self) -> float:
        """How much longer outputs that are behind are waited for, in seconds."""
        return max(0.0, self._ended_at + self.patience_s - time.monotonic())

    def hurry(self) -> None:
        """Wait no longer for outputs that are behind. May be called by a signal's handler."""
        self.hurried = True

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
        for output in self.queues:
            if output.thread.ident is not None and output.thread is not threading.current_thread():
                output.thread.join(max(0.0, end - time.monotonic()))

    def close(self) -> None:
        """End the threads."""
        self._end_threads()
        for output in self.queues:
            if output.publication is not None:
                output.publication.close(wait_for_puts=not output.thread.is_alive())
