"""One of the outputs that a broadcast is published to: its queue, and the thread that works it off."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from streamwave.errors import EmptiedError, FencedError, OutputError
from streamwave.manifest.lines import BroadcastLine
from streamwave.manifest.packaged import PackagedChunk
from streamwave.manifest.progress import Progress
from streamwave.publish.publication import Publication

log = logging.getLogger("streamwave.targets")

#: Chunks whose files are kept for an output that is behind; beyond that it copies from another output.
QUEUE_CHUNKS = 30
#: Pauses between tries of an output that refuses, in seconds; the last one for as long as it takes.
PAUSES_S = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(eq=False)
class Parcel:
    """A chunk on its way to all outputs. ``done`` is called when no output needs its files any more."""

    chunk: PackagedChunk
    session: str
    period: str
    wall_unix_ms: int | None
    done: Callable[[], None]
    info: dict[str, str] | None = None  # what is known of the broadcast by now, where that is to be told
    open_queues: int = 0
    stored: bool = False
    fault: Exception | None = None


class Owner(Protocol):
    """The broadcast that a queue belongs to: what all of them share. ``changed`` guards it."""

    changed: threading.Condition
    closing: bool
    ending: bool
    header: BroadcastLine | None
    info: dict[str, str] | None
    patience_s: float
    on_change: Callable[[str], None]

    @property
    def queues(self) -> Sequence[OutputQueue]:
        """One queue for each output, in their order."""

    def pause(self, seconds: float) -> None:
        """Wait that long, or until the end."""


class OutputQueue:
    """One output: its queue, and the thread that works it off."""

    def __init__(self, owner: Owner, number: int, url: str, make: Callable[[], Publication]) -> None:
        self.owner, self.number, self.url = owner, number, url
        self._make = make
        self.publication: Publication | None = None
        self.parcels: queue.Queue[Parcel] = queue.Queue(QUEUE_CHUNKS)
        self.skipped: Parcel | None = None  # the last one that found the queue full
        self.error: str | None = None
        self.lost: Publication | None = None  # the one of which all was deleted
        self.fatal: Exception | None = None
        self.ready = self.finished = False
        self.emptied = False  # somebody has deleted all of it, and it has not got back yet what others have
        self.thread = threading.Thread(target=self._run, name=f"output-{number}", daemon=True)

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self.publication.progress if self.publication is not None else Progress()

    def _run(self) -> None:
        parcel: Parcel | None = None
        tries = 0
        while not self.owner.closing:
            try:
                if not self.ready:
                    self._begin()
                elif self.emptied and self.lost is self.publication:
                    self._begin_again()
                if parcel is None:
                    parcel = self._next()
                if parcel is not None:
                    self._deliver(parcel)
                    self._let_go(parcel, stored=True)
                    parcel = None
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
                self._says(None)
            except FencedError as error:
                self._fail(error, parcel)
                return
            except OutputError as error:
                if isinstance(error, EmptiedError):
                    self.emptied, self.lost = True, self.publication
                self._says(str(error))
                self.owner.pause(PAUSES_S[min(tries, len(PAUSES_S) - 1)])
                tries += 1
            except (
                Exception
            ) as error:  # a chunk that does not join on, or a fault of ours: whoever publishes has to know
                if parcel is None:
                    self._fail(error, None)
                    return
                parcel.fault = error
                self._let_go(parcel, stored=False)
                parcel = None

    def _begin(self) -> None:
        publication = self.publication or self._make()
        header = self.owner.header
        if header is not None:
            publication.begin(header)
        with self.owner.changed:
            self.publication, self.ready = publication, True
            self.owner.changed.notify_all()

    def _begin_again(self) -> None:
        """All of it was deleted: begin with nothing, as an output that is behind."""
        before, again = self.publication, self._make()
        if self.owner.header is not None:
            again.begin(self.owner.header)
        with self.owner.changed:
            self.publication = again
        if before is not None:
            before.close(wait_for_puts=False)
        others = [output for output in self.owner.queues if output is not self and output.progress.chunks]
        how = "gets what other outputs hold of it" if others else "begins there again with what arrives from now on"
        news = f"the broadcast was deleted from {self.url} while it was being published; it {how}"
        log.warning("%s", news)
        self.owner.on_change(news)

    def _next(self) -> Parcel | None:
        try:
            return self.parcels.get(timeout=0.02 if self.owner.ending else 0.1)
        except queue.Empty:
            return None

    def _deliver(self, parcel: Parcel) -> None:
        assert self.publication is not None
        if self.emptied:
            self._catch_up()
            self.emptied = False
        place = self.publication.place(parcel.session, parcel.chunk.number)
        # Whether the first chunk of a session is the next one only shows when nothing of the one before is missing.
        if place == "later" or (self.skipped is not None and self.publication.progress.session != parcel.session):
            self.publication.reload()  # a process on another machine may have published
            self._catch_up()
            place = self.publication.place(parcel.session, parcel.chunk.number)
        if place == "next" and parcel.info is not None:
            self.publication.describe(parcel.info)
        # The last one again: it may not be visible yet.
        if place == "next" or parcel.chunk.number == (self.publication.next_chunk(parcel.session) or 0) - 1:
            self.publication.publish(parcel.chunk, parcel.session, parcel.period, parcel.wall_unix_ms)
        elif place == "later" and len(self.owner.queues) > 1:
            raise OutputError(f"{self.url} lacks chunks before {parcel.chunk.number}, which no other output has")
        elif place == "later":
            self.publication.publish(parcel.chunk, parcel.session, parcel.period, parcel.wall_unix_ms)  # says why not

    def _is_behind(self) -> bool:
        return any(
            output.progress.chunks > self.progress.chunks for output in self.owner.queues if output is not self
        ) and (self.parcels.empty())

    def _catch_up(self) -> None:
        """Copy from the output that is furthest; nothing is left to do once it has all that we were not given."""
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

    def _let_go(self, parcel: Parcel, *, stored: bool) -> None:
        with self.owner.changed:
            parcel.stored = parcel.stored or stored
            parcel.open_queues -= 1
            self.owner.changed.notify_all()
            last = parcel.open_queues == 0
        if last:
            parcel.done()

    def _says(self, error: str | None) -> None:
        if error == self.error:
            return
        with self.owner.changed:
            if error is not None:
                # Where nothing goes on without this output, the error that ends the run says it.
                if self.owner.patience_s > 0 or len(self.owner.queues) > 1:
                    log.warning("%s", error)
            else:
                log.warning("%s can be written again", self.url)
            self.error = error
            self.owner.changed.notify_all()
        self.owner.on_change(error or f"{self.url} can be written again")

    def _fail(self, error: Exception, parcel: Parcel | None) -> None:
        with self.owner.changed:
            self.fatal, self.error = error, str(error)
            if parcel is not None:
                parcel.fault = error
            self.owner.changed.notify_all()
