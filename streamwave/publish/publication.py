"""Publishing to one store: segments, then playlists and manifest, then the ledger. Whatever a manifest names is stored.

Where each request is a round trip, requests that do not depend on each other are sent at the same time: a chunk takes
three round trips (segments and fence, manifests, ledger), whatever the number of renditions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Literal

from streamwave.errors import FencedError, OutputError
from streamwave.layout import FENCE
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import BroadcastLine, ChunkLine, EndLine, InfoLine
from streamwave.manifest.names import named_objects
from streamwave.manifest.packaged import PackagedChunk
from streamwave.manifest.progress import Progress
from streamwave.manifest.render import manifest_names
from streamwave.manifest.timeline import Timeline
from streamwave.publish import additions
from streamwave.publish.additions import Addition
from streamwave.publish.claim import check_claim
from streamwave.publish.expiry import Expiry
from streamwave.publish.fence import Fence
from streamwave.publish.manifests import Manifests
from streamwave.publish.puts import Puts
from streamwave.publish.replicate import copy_missing
from streamwave.storage.location import BaseUrl
from streamwave.storage.store import Store

#: Seconds until manifests that were due and could not be written are tried again.
AGAIN_S = 1.0


class Publication:
    """One broadcast that this run publishes to one store. Thread-safe; chunks must come in order.

    ``manifests`` False holds the manifests back until the end (a file that is being transcoded cannot be watched yet).
    Manifests are written at most once in ``manifest_interval_s``, if need be by a timer; meanwhile the ledger may be ahead
    of them, never behind. ``base_urls`` are those of the broadcast (see ``location``). The output's root is ``levels``
    folders above ``store``; with 0, a broadcast that is deleted meanwhile is an error and is not published again.
    ``copy_of``: see ``check_claim``. ``progress`` can be read at any time without waiting for a request.
    """

    def __init__(
        self,
        store: Store,
        *,
        manifests: bool,
        token: str,
        utc_timing_url: str | None = None,
        manifest_interval_s: float = 0,
        base_urls: Sequence[BaseUrl] = (),
        levels: int = 0,
        copy_of: Store | None = None,
    ) -> None:
        self.store, self._levels, self._copy_of = store, levels, copy_of
        self.ledger = Ledger.load(store)
        self._expiry = Expiry(store)
        self._shows_live = manifests
        self._fence = Fence(store, token)
        self.lock = threading.RLock()
        self._puts = Puts(store)
        self._manifests = Manifests(
            store, self._puts, self._on_time, interval_s=manifest_interval_s, utc_timing_url=utc_timing_url,
            base_urls=base_urls,
        )  # fmt: skip
        self._begun = False
        self._unlisted: list[str] = []  # objects that are being written and are not in the ledger yet
        self._unsaved = False
        self.progress = Progress.of(self.ledger)

    @property
    def latencies_ms(self) -> Sequence[int]:
        """For the last chunks: milliseconds from the arrival of the last frame to the manifest that names it."""
        return self._manifests.latencies_ms

    @property
    def timeline(self) -> Timeline:
        """The timeline of what has been published."""
        assert self.ledger.timeline is not None
        return self.ledger.timeline

    def begin(self, header: BroadcastLine) -> None:
        """Take over the publishing, fence out any earlier run, and start the ledger unless there is one.

        Raises:
            OutputError: the store holds something else (see ``check_claim``), or cannot be written.
        """
        with self.lock:
            check_claim(self.store, self.ledger, header, self._copy_of)
            self._fence.take(ended=self.ledger.timeline is not None and self.timeline.ended)
            # The earlier run may have published until now.
            self.reload()
            check_claim(self.store, self.ledger, header, self._copy_of)
            self._begun = self.ledger.timeline is None or not self.timeline.ended
            if self.ledger.header is None:
                self.ledger.append(header)
            self.store.remember_place(self._levels)

    def reload(self) -> None:
        """Read the ledger again, because another process may have published.

        Raises:
            OutputError: the ledger cannot be read, or has gone.
        """
        with self.lock:
            if self._unsaved:
                return
            found = Ledger.load(self.store)
            if found.header is None and self.ledger.header is not None:
                self._fence.look()
            self._use(found)
            self.progress = Progress.of(self.ledger)

    def _use(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._manifests.forget()

    def describe(self, info: dict[str, str]) -> None:
        """Put the metadata ``info`` into the next manifest, and into the ledger together with the next chunk."""
        with self.lock:
            if self.ledger.timeline is not None and not self.timeline.ended and self.timeline.info != info:
                self.ledger.append(InfoLine(info=info), save=False)

    def next_chunk(self, session: str) -> int | None:
        """Number of the first chunk of ``session`` that is still to be published; None if the session is complete."""
        with self.lock:
            return additions.next_chunk(self.ledger, session)

    def place(self, session: str, number: int) -> Literal["published", "next", "later"]:
        """Where a chunk belongs in relation to what is published (see ``additions.place``)."""
        with self.lock:
            return additions.place(self.ledger, session, number)

    def publish(self, chunk: PackagedChunk, session: str, period: str, wall_unix_ms: int | None = None) -> None:
        """Store the next chunk of ``session`` and make it visible. Repeating the last chunk is harmless.

        The first chunk of a session opens a period called ``period``; ``wall_unix_ms`` is the wall clock at its first
        picture (None for a file).

        Raises:
            MediaError: the chunk does not continue what is published, or its init segments differ from those of its period.
            OutputError: the store refused a request; no manifest names what is missing.
            FencedError: another run publishes this broadcast now.
        """
        with self.lock:
            if not self.store.remote:
                self._fence.check()
            addition = additions.addition_of(self.ledger, chunk, session, period, wall_unix_ms)
            if addition is not None:
                self._add(addition)
                if chunk.closed_unix_ms:
                    self._manifests.add(chunk.closed_unix_ms)
            self._save()
            self._expiry.run(self.ledger)

    def copy_from(self, other: Publication, go_on: Callable[[], bool] = lambda: True) -> int:
        """Copy what ``other`` has published and this publication lacks (see ``copy_missing``)."""
        return copy_missing(self, other, go_on)

    def take_over(self, addition: Addition) -> None:
        """Add part of another store's ledger, with its objects."""
        self._add(addition)
        if isinstance(addition.lines[-1], ChunkLine):  # a period without a chunk is not worth a manifest
            self._save()

    def replace_ledger(self, found: Ledger) -> None:
        """Publish ``found``, whose objects are in the store already, in place of the present ledger."""
        before = self.ledger
        self._use(found)
        try:
            self._commit(found.restart, with_manifests=self._shows_live)
        except BaseException:
            self._use(before)
            raise

    def finish(self, *, again: bool = False) -> None:
        """Complete the broadcast: write static manifests, then the ledger's end. ``again``: also if that was done before."""
        with self.lock:
            if self.timeline.ended and not self._unsaved and not again:
                return
            self._fence.check()
            if not self.timeline.ended:
                self.ledger.append(EndLine(), save=False)
                self._unsaved = True
            self._manifests.cancel()
            self._commit(self.ledger.save, with_manifests=bool(self.ledger.periods))

    def discard(self) -> None:
        """Remove the unfinished broadcast (of a job that failed and is not resumed), with what earlier runs published.

        A broadcast that was complete when this run began stays, and so does one that another run has taken over.
        """
        with self.lock:
            self._fence.give_up()
            self._manifests.cancel()
            if not self._begun or not self._fence.holds():
                return
            timeline = self.ledger.timeline or Timeline(created_unix_ms=0, segment_ms=0)
            names = manifest_names(timeline)
            # The ledger goes before the objects that it lists: a run that finds a ledger relies on them.
            names += [*reversed(self.ledger.parts.names), *self._unlisted]
            names += named_objects(timeline)
            for name in [*names, FENCE]:
                self.store.delete(name)
            self.store.prune()

    def leave(self) -> None:
        """Close a publication whose broadcast was deleted, with the manifests that it wrote meanwhile.

        Raises:
            OutputError: the store refused a request.
        """
        self.close()
        self._manifests.withdraw()

    def close(self, *, wait_for_puts: bool = True) -> None:
        """Release the threads."""
        self._manifests.cancel()
        self._puts.close(wait_for_puts=wait_for_puts)

    def _add(self, addition: Addition) -> None:
        """Write the objects, check that no other run has taken over meanwhile, and extend the ledger without saving it."""
        self._unlisted = [name for name, _ in addition.objects]
        # Both are round trips, so they run at the same time; objects written by a run that was replaced do no harm.
        self._puts.read_and_put(addition.objects, *([self._fence.look] if self.store.remote else []))
        self.ledger.append(*addition.lines, save=False)
        self._unsaved = True
        self._unlisted = []

    def _save(self) -> None:
        """Make visible and record what was added, also by an attempt that failed before it got here."""
        if self._unsaved:
            shows = self._shows_live and self.ledger.chunk_count and self._manifests.request()
            self._commit(self.ledger.save, with_manifests=bool(shows))

    def _commit(self, save: Callable[[], None], *, with_manifests: bool) -> None:
        """Write the manifests, if they are due, and then the ledger by ``save``."""
        if with_manifests:
            self._fence.check()
            self._put_manifests()
        self._fence.check()
        save()
        self._unsaved = False
        self.progress = Progress.of(self.ledger)

    def _on_time(self) -> None:
        """Write manifests that were due before the interval was over."""
        with self.lock:
            if not self._manifests.on_schedule() or self.timeline.ended:
                return
            try:
                self._fence.check()
                self._put_manifests()
            except FencedError:
                return  # the run that publishes now writes them
            except OutputError:
                self._manifests.schedule(AGAIN_S)
            except RuntimeError:
                return  # the threads were released at this very moment

    def _put_manifests(self) -> None:
        self._manifests.write(self.ledger)
        self._expiry.note(self.ledger)
