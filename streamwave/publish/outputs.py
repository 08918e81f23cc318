"""Publishing to several outputs at once: each has a thread and a bounded queue, so that none waits for another.

A chunk counts as published once one output has stored it. The others follow at their own pace: from the files of the chunk
while it is in their queue, else by copying from the output that is furthest. After any interruption an output continues from
what its own ledger says (docs/decisions/0010-several-outputs.md).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from streamwave.errors import FencedError, OutputError, StreamWaveError
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import BroadcastLine
from streamwave.manifest.packaged import PackagedChunk
from streamwave.manifest.timeline import Timeline
from streamwave.publish.completion import Completion
from streamwave.publish.delivery import Delivery
from streamwave.publish.publication import Publication
from streamwave.publish.queue import OutputQueue
from streamwave.publish.standing import Standing

#: How long closing waits for threads that are in the middle of a request.
JOIN_S = 5.0
#: How long a new run waits for outputs that do not answer, before it starts with those that do.
BEGIN_S = 30.0
#: The same once an output has answered that holds every chunk known to be published, so that no other can hold more.
BEGIN_KNOWN_S = 2.0


class Outputs(Standing):
    """One broadcast that this run publishes to one or several outputs. Thread-safe; chunks must come in order.

    ``outputs`` are (address, function that opens the publication there, which may raise OutputError at any time).
    ``patience_s`` is how long a chunk, or the end, waits while all outputs refuse.
    """

    def __init__(self, outputs: Sequence[tuple[str, Callable[[], Publication]]], *, patience_s: float) -> None:
        self.changed = threading.Condition()
        self.closing = False
        #: Called with a sentence, from any thread, when an output begins to refuse or can be written again.
        self.on_change: Callable[[str], None] = lambda news: None
        self.header: BroadcastLine | None = None
        self.info: dict[str, str] | None = None
        self.patience_s = patience_s
        self.completion = Completion(self, self.changed, patience_s)
        self._publish_lock = threading.Lock()
        self._closed = threading.Event()
        self._started = False
        self.queues = [OutputQueue(self, number, url, make) for number, (url, make) in enumerate(outputs)]

    @property
    def ending(self) -> bool:
        """Whether outputs that have all chunks write their static manifests."""
        return self.completion.begun

    @property
    def leader(self) -> Publication:
        """The publication of the output that is furthest.

        Raises:
            OutputError: no output could be opened.
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
        """One for each output, in their order; None for an output that could not be opened yet."""
        return [output.publication for output in self.queues]

    @property
    def ledger(self) -> Ledger:
        """The ledger of the output that is furthest."""
        return self.leader.ledger

    @property
    def timeline(self) -> Timeline:
        """The timeline of the output that is furthest."""
        return self.leader.timeline

    def _start(self, *, known_chunks: int | None = None) -> None:
        """Open all outputs; return once all have answered, or at least one has and the time for the others is over."""
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
        """Take over the publishing at every output, and start the ledgers where there are none.

        ``known_chunks`` is how many chunks the output that is furthest is known to hold. Once an output has answered that
        holds as many, the others get little time to answer.

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
        """Publish the metadata ``info`` together with the next chunk, not sooner, so that all ledgers stay the same."""
        self.info = dict(info)

    def publish(
        self,
        chunk: PackagedChunk,
        session: str,
        period: str,
        wall_unix_ms: int | None = None,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        """Hand the next chunk to all outputs and wait until one has stored it. Repeating the last chunk is harmless.

        ``done`` is called once no output needs the chunk's files any more. See ``Publication.publish`` for the other
        arguments.

        Raises:
            MediaError: the chunk does not continue what is published.
            OutputError: all outputs have refused for longer than ``patience_s``; no manifest names what is missing.
            FencedError: another run publishes this broadcast now.
        """
        self._start()
        end = time.monotonic() + self.patience_s
        with self._publish_lock:
            delivery = Delivery(self.changed, chunk, session, period, wall_unix_ms, done, self.info)
            delivery.hand_out(self.queues)
        with self.changed:
            while not delivery.stored:
                fatal = delivery.fault or self.fatal
                if fatal is not None:
                    raise fatal
                if time.monotonic() >= end and (refusal := self.refusal):
                    raise OutputError(refusal)
                if self.closing:
                    raise FencedError("publishing was given up")
                self.changed.wait(0.2)
            if delivery.fault is not None:
                raise delivery.fault

    def finish(self) -> None:
        """Complete the broadcast: each output gets static manifests as soon as it has all chunks.

        Outputs that do not get that far within the patience stay behind; ``lags`` says by how much.

        Raises:
            OutputError: no output could be completed.
            FencedError: another run publishes this broadcast now.
        """
        self.finish_first()
        self.completion.wait_for_others(self.patience_s)

    def finish_first(self) -> None:
        """Like ``finish``, but return as soon as one output is complete."""
        self._start()
        self.completion.wait_for_first()

    def pause(self, seconds: float) -> None:
        """Wait that long, or until the outputs are closed."""
        self._closed.wait(seconds)

    def discard(self) -> None:
        """Remove the unfinished broadcast from every output (see ``Publication.discard``)."""
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
