"""One of the outputs of a broadcast: a queue of chunks, and the thread that publishes them."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from streamwave.errors import EmptiedError, FencedError, OutputError
from streamwave.manifest.lines import BroadcastLine
from streamwave.manifest.progress import Progress
from streamwave.publish.delivery import Delivery
from streamwave.publish.publication import Publication

log = logging.getLogger("streamwave.outputs")

#: Chunks whose files are kept for an output that is behind; an output that is further behind copies from another one.
QUEUE_CHUNKS = 30
#: Pauses between attempts at an output that refuses, in seconds; the last pause repeats.
PAUSES_S = (0.25, 0.5, 1.0, 2.0, 4.0)


class Owner(Protocol):
    """What the outputs of a broadcast share. ``changed`` guards it."""

    changed: threading.Condition
    closing: bool
    header: BroadcastLine | None
    info: dict[str, str] | None
    patience_s: float
    on_change: Callable[[str], None]

    @property
    def ending(self) -> bool:
        """Whether outputs that have all chunks write their static manifests."""

    @property
    def queues(self) -> Sequence[OutputQueue]:
        """One queue for each output, in their order."""

    def pause(self, seconds: float) -> None:
        """Wait that long, or until the outputs are closed."""


class OutputQueue:
    """One output. ``thread`` publishes the deliveries in ``deliveries``, and copies from other outputs when it is behind.

    ``make`` opens the publication, and may raise OutputError at any time.
    """

    def __init__(self, owner: Owner, number: int, url: str, make: Callable[[], Publication]) -> None:
        self.owner, self.number, self.url = owner, number, url
        self._make = make
        self.publication: Publication | None = None
        self.deliveries: queue.Queue[Delivery] = queue.Queue(QUEUE_CHUNKS)
        self.skipped: Delivery | None = None  # the last one that did not fit into the queue
        self.error: str | None = None
        self.lost: Publication | None = None  # the publication whose objects were deleted
        self.fatal: Exception | None = None
        self.ready = self.finished = False
        self.emptied = False  # its objects were deleted, and it has not copied yet what other outputs have
        self.thread = threading.Thread(target=self._run, name=f"output-{number}", daemon=True)

    @property
    def progress(self) -> Progress:
        """How far this output is."""
        return self.publication.progress if self.publication is not None else Progress()

    def offer(self, delivery: Delivery) -> bool:
        """Queue ``delivery``; False if the queue is full, and the chunk has to be copied from another output."""
        try:
            self.deliveries.put_nowait(delivery)
        except queue.Full:
            with self.owner.changed:
                self.skipped = delivery
            return False
        return True

    def _run(self) -> None:
        delivery: Delivery | None = None
        tries = 0
        while not self.owner.closing:
            try:
                if not self.ready:
                    self._begin()
                elif self.emptied and self.lost is self.publication:
                    self._begin_again()
                if delivery is None:
                    delivery = self._next()
                if delivery is not None:
                    self._deliver(delivery)
                    delivery.release(stored=True)
                    delivery = None
                elif self.skipped is not None or self._is_behind():
                    self._catch_up()
                    self.emptied = False
                elif self.owner.ending and not self.finished:
                    assert self.publication is not None
                    if self.owner.info is not None:
                        self.publication.describe(self.owner.info)
                    self.publication.finish()
                    with self.owner.changed:
                        self.finished = True
                        self.owner.changed.notify_all()
                tries = 0
                self._report(None)
            except FencedError as error:
                self._fail(error, delivery)
                return
            except OutputError as error:
                if isinstance(error, EmptiedError):
                    self.emptied, self.lost = True, self.publication
                self._report(str(error))
                self.owner.pause(PAUSES_S[min(tries, len(PAUSES_S) - 1)])
                tries += 1
            except Exception as error:  # the chunk does not fit, or there is a bug: ``Outputs.publish`` raises it
                if delivery is None:
                    self._fail(error, None)
                    return
                delivery.release(fault=error)
                delivery = None

    def _begin(self) -> None:
        publication = self.publication or self._make()
        header = self.owner.header
        if header is not None:
            publication.begin(header)
        with self.owner.changed:
            self.publication, self.ready = publication, True
            self.owner.changed.notify_all()

    def _begin_again(self) -> None:
        """Start again with an empty ledger, like an output that is behind: everything here was deleted."""
        if self.publication is not None:
            self.publication.leave()
        again = self._make()
        if self.owner.header is not None:
            again.begin(self.owner.header)
        with self.owner.changed:
            self.publication = again
        others = [output for output in self.owner.queues if output is not self and output.progress.chunks]
        how = "is copied from the other outputs" if others else "starts again there with the next chunk"
        news = f"the broadcast was deleted from {self.url} while it was being published; it {how}"
        log.warning("%s", news)
        self.owner.on_change(news)

    def _next(self) -> Delivery | None:
        try:
            return self.deliveries.get(timeout=0.02 if self.owner.ending else 0.1)
        except queue.Empty:
            return None

    def _deliver(self, delivery: Delivery) -> None:
        assert self.publication is not None
        if self.emptied:
            self._catch_up()
            self.emptied = False
        place = self.publication.place(delivery.session, delivery.chunk.number)
        # The first chunk of a session is only next if nothing of the session before is missing here.
        if place == "later" or (self.skipped is not None and self.publication.progress.session != delivery.session):
            self.publication.reload()  # another machine may have published
            self._catch_up()
            place = self.publication.place(delivery.session, delivery.chunk.number)
        if place == "next" and delivery.info is not None:
            self.publication.describe(delivery.info)
        # The last chunk is repeated: it may not be visible yet.
        if place == "next" or delivery.chunk.number == (self.publication.next_chunk(delivery.session) or 0) - 1:
            self.publication.publish(delivery.chunk, delivery.session, delivery.period, delivery.wall_unix_ms)
        elif place == "later" and len(self.owner.queues) > 1:
            raise OutputError(f"{self.url} lacks chunks before {delivery.chunk.number}, which no other output has")
        elif place == "later":
            # Raises the error that says which chunk is next.
            self.publication.publish(delivery.chunk, delivery.session, delivery.period, delivery.wall_unix_ms)

    def _is_behind(self) -> bool:
        others = [output for output in self.owner.queues if output is not self]
        return any(output.progress.chunks > self.progress.chunks for output in others) and self.deliveries.empty()

    def _catch_up(self) -> None:
        """Copy from the output that is furthest, at least up to the last chunk that did not fit into the queue."""
        mine = self.publication
        assert mine is not None
        before = self.skipped
        others = [
            output.publication for output in self.owner.queues if output is not self and output.publication is not None
        ]
        for other in sorted(others, key=lambda one: -one.progress.chunks):
            if other.progress.chunks > mine.progress.chunks:
                mine.copy_from(other, lambda: not self.owner.closing)
        if before is not None:
            if mine.place(before.session, before.chunk.number) != "published":
                raise OutputError(f"{self.url} waits for an output that has chunk {before.chunk.number}")
            with self.owner.changed:
                if before is self.skipped:
                    self.skipped = None

    def _report(self, error: str | None) -> None:
        if error == self.error:
            return
        with self.owner.changed:
            if error is not None:
                # If everything depends on this output, the run ends with this error instead.
                if self.owner.patience_s > 0 or len(self.owner.queues) > 1:
                    log.warning("%s", error)
            else:
                log.warning("%s can be written again", self.url)
            self.error = error
            self.owner.changed.notify_all()
        self.owner.on_change(error or f"{self.url} can be written again")

    def _fail(self, error: Exception, delivery: Delivery | None) -> None:
        with self.owner.changed:
            self.fatal, self.error = error, str(error)
            if delivery is not None:
                delivery.fault = error
            self.owner.changed.notify_all()
