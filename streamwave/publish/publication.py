"""Publishing to one place: segments, then playlists and manifest, then the ledger. What a manifest names is stored.

Where requests are round trips, those that do not depend on each other are under way at the same time: a chunk takes
three of them (segments and fence, manifests, ledger), however many renditions there are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

from streamwave.errors import FencedError, MediaError, OutputError
from streamwave.layout import FENCE, MANIFEST, MASTER, init_name, segment_name
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import BroadcastLine, ChunkLine, EndLine, InfoLine, PeriodLine, TrackLine
from streamwave.manifest.names import named_objects
from streamwave.manifest.packaged import PackagedChunk
from streamwave.manifest.progress import Progress
from streamwave.manifest.render import manifest_names
from streamwave.manifest.timeline import Timeline
from streamwave.publish.expiry import Expiry
from streamwave.publish.fence import Fence
from streamwave.publish.manifests import Manifests
from streamwave.publish.puts import Puts
from streamwave.publish.replicate import copied_window, copy_chunks, same_manifest
from streamwave.storage.location import BaseUrl
from streamwave.storage.store import Store

#: A manifest that could not be written when it was due is tried again after this time.
AGAIN_S = 1.0


class Publication:
    """One broadcast being published to one store by this run. Thread-safe; chunks must come in order.

    ``manifests`` False holds the manifests back until the end (a file that is being transcoded is not yet watchable).
    Manifests that are due within ``manifest_interval_s`` of the last become one, which a timer writes; meanwhile the
    ledger may be ahead of them, never the other way round. ``base_urls`` are those of the broadcast (see ``location``).
    The output that it lies in is ``levels`` folders above its store; 0: what is deleted from it is an error and no more.
    Manifests that equal those at ``copy_of`` are of this broadcast, though the ledger beside them was lost.
    ``progress`` may be read at any time without waiting for what is being written.
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
        self._unlisted: list[str] = []  # objects of the chunk that is being written, which the ledger does not know yet
        self._discarded = False
        self._unsaved = False
        self.progress = Progress.of(self.ledger)

    @property
    def latencies_ms(self) -> Sequence[int]:
        """Of the last chunks: milliseconds from the arrival of the last frame to the manifest that names it."""
        return self._manifests.latencies_ms

    @property
    def timeline(self) -> Timeline:
        """What has been published."""
        assert self.ledger.timeline is not None
        return self.ledger.timeline

    def begin(self, header: BroadcastLine) -> None:
        """Take over the publishing, fence out any earlier run, and start the ledger unless there is one.

        Raises:
            OutputError: the place holds another broadcast, or somebody else's manifest, or cannot be written.
        """
        with self.lock:
            self._check_place(header)
            self._fence.take(ended=self.ledger.timeline is not None and self.timeline.ended)
            # What the earlier run wrote until just now counts.
            self.reload()
            self._check_place(header)
            self._begun = self.ledger.timeline is None or not self.timeline.ended
            if self.ledger.header is None:
                self.ledger.append(header)
            self.store.remember_place(self._levels)

    def _check_place(self, header: BroadcastLine) -> None:
        if self.ledger.header is None:
            for name in (MANIFEST, MASTER):
                held = self.store.get(name)
                if held is not None and (self._copy_of is None or not same_manifest(held, self._copy_of.get(name))):
                    raise OutputError(
                        f"{self.store.url} holds a {name} that another program wrote; choose another output, or remove it"
                    )
        elif self.ledger.header.fingerprint != header.fingerprint:
            raise OutputError(
                f"{self.store.url} already holds a broadcast; choose another output, or replace it with --overwrite"
            )

    def reload(self) -> None:
        """Read the ledger again: another process may have published. Raises OutputError if it cannot be read, or is gone."""
        with self.lock:
            if self._unsaved:
                return
            found = Ledger.load(self.store)
            if found.header is None and self.ledger.header is not None:
                self._fence.look()
            self._read(found)
            self.progress = Progress.of(self.ledger)

    def _read(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._manifests.forget()

    def describe(self, info: dict[str, str]) -> None:
        """Have the next manifest say ``info`` of the broadcast; it is in the ledger with the next chunk."""
        with self.lock:
            if self.ledger.timeline is not None and not self.timeline.ended and self.timeline.info != info:
                self.ledger.append(InfoLine(info=info), save=False)

    def next_chunk(self, session: str) -> int | None:
        """Number of the first chunk of ``session`` that is still to be published; None if the session is complete."""
        with self.lock:
            sessions = [period.session for period in self.ledger.periods]
            if session not in sessions:
                return 0
            return self.ledger.next_chunk if sessions[-1] == session else None

    def place(self, session: str, number: int) -> Literal["published", "next", "later"]:
        """Where a chunk stands to what is published. Of a session that is not known yet every chunk is the next."""
        following = self.next_chunk(session)
        if following is None or number < following:
            return "published"
        with self.lock:
            known = any(period.session == session for period in self.ledger.periods)
        return "next" if number == following or not known else "later"

    def publish(self, chunk: PackagedChunk, session: str, period: str, wall_unix_ms: int | None = None) -> None:
        """Store the next chunk of ``session`` and make it visible. Repeating the last one is harmless.

        The first chunk of a session opens a period called ``period``; ``wall_unix_ms`` is the wall clock at its first
        picture (None for a file).

        Raises:
            MediaError: it does not join on, or its init segment differs from its period's.
            OutputError: the store refused; nothing names what is missing.
            FencedError: another run publishes this broadcast now.
        """
        with self.lock:
            if not self.store.remote:
                self._check_fence()
            last = self.ledger.periods[-1] if self.ledger.periods else None
            opens = last is None or last.session != session
            if opens and any(one.session == session for one in self.ledger.periods):
                raise MediaError(f"session {session} was to be published, but a later one has begun")
            if opens or chunk.number != self.ledger.next_chunk - 1:
                self._publish_next(chunk, session, period if opens else None, wall_unix_ms)
            self._save()
            self._expiry.run(self.ledger)

    def _publish_next(self, chunk: PackagedChunk, session: str, opening: str | None, wall_unix_ms: int | None) -> None:
        """Write the objects of ``chunk`` and extend the timeline by it."""
        tracks = tuple(map(TrackLine.of, chunk.tracks))
        name = opening or self.ledger.periods[-1].name
        if opening is None:
            if chunk.number != self.ledger.next_chunk:
                raise MediaError(f"chunk {chunk.number} was to be published, but {self.ledger.next_chunk} is the next")
            if tracks != self.ledger.periods[-1].tracks:
                raise MediaError(f"chunk {chunk.number} was encoded with other settings than those before it")
        objects: list[tuple[str, Callable[[], bytes]]] = []
        for track in chunk.tracks:
            if opening is not None:
                objects.append((init_name(name, track.rendition.name), Path(track.init_path).read_bytes))
            objects.extend(
                (segment_name(name, track.rendition.name, s.time), Path(s.path).read_bytes) for s in track.segments
            )
        self._put_objects(objects)
        lines: list[PeriodLine | ChunkLine] = []
        if opening is not None:
            lines.append(
                PeriodLine(
                    name=opening, session=session, first_chunk=chunk.number, start=self._period_start(wall_unix_ms),
                    wall_unix_ms=wall_unix_ms, tracks=tracks,
                )
            )  # fmt: skip
        lines.append(ChunkLine.of(chunk))
        self._append(*lines)
        if chunk.closed_unix_ms:
            self._manifests.add(chunk.closed_unix_ms)

    def copy_from(self, other: Publication, go_on: Callable[[], bool] = lambda: True) -> int:
        """Publish what ``other`` has published and this has not, its objects read from there; how many chunks.

        ``go_on`` is asked all the time.

        Raises:
            OutputError: one of the two stores refused, or a segment is not there any more; nothing names what is missing.
            FencedError: another run publishes this broadcast now.
        """
        header = self.ledger.header
        by_chunks = header is None or header.keep or not header.dvr_window_ms
        return copy_chunks(self, other, go_on) if by_chunks else self._copy_window(other, go_on)

    def _copy_window(self, other: Publication, go_on: Callable[[], bool]) -> int:
        with self.lock:
            before = self.ledger
            found = copied_window(before, other.store, go_on)
            if found is None:
                return 0
            self._read(found)
            try:
                self._check_fence()
                if self._shows_live:
                    self._put_manifests()
                self._check_fence()
                found.restart()
            except BaseException:
                self._read(before)
                raise
            self._unsaved = False
            self.progress = Progress.of(found)
            return found.chunk_count - before.chunk_count

    def take_over(self, line: PeriodLine | ChunkLine, names: Sequence[str], source: Store) -> None:
        """Add a line of another place's ledger, whose objects ``names`` are read from the store there."""

        def read(name: str) -> bytes:
            data = source.get(name)
            if data is None:
                raise OutputError(f"{source.url} lacks {name}, so {self.store.url} cannot get it from there")
            return data

        self._put_objects([(name, lambda name=name: read(name)) for name in names])  # type: ignore[misc]
        self._append(line)
        if isinstance(line, ChunkLine):  # a period is nothing without one
            self._save()

    def _append(self, *lines: PeriodLine | ChunkLine) -> None:
        self.ledger.append(*lines, save=False)
        self._unsaved = True
        self._unlisted = []

    def _period_start(self, wall_unix_ms: int | None) -> Fraction:
        """Where a period begins, in seconds: while live, by the wall clock, which is what players take the live edge from.

        Once the broadcast has ended, the ledger closes the pauses.
        """
        end = self.timeline.duration
        if wall_unix_ms is None:
            return end
        return max(end, Fraction(wall_unix_ms - self.timeline.created_unix_ms, 1000))

    def _save(self) -> None:
        """Make visible and note what is new, or left over from a try that broke off in between."""
        if not self._unsaved:
            return
        if self._shows_live and self.ledger.chunk_count and self._manifests.request():
            self._check_fence()
            self._put_manifests()
        self._check_fence()
        self.ledger.save()
        self._unsaved = False
        self.progress = Progress.of(self.ledger)

    def finish(self, *, again: bool = False) -> None:
        """The broadcast is complete: static manifests, then the end of the ledger; ``again`` although they were written."""
        with self.lock:
            if self.timeline.ended and not self._unsaved and not again:
                return
            self._check_fence()
            if not self.timeline.ended:
                self.ledger.append(EndLine(), save=False)
                self._unsaved = True
            self._manifests.cancel()
            if self.ledger.periods:
                self._put_manifests()
            self._check_fence()
            self.ledger.save()
            self._unsaved = False
            self.progress = Progress.of(self.ledger)

    def discard(self) -> None:
        """Remove the unfinished broadcast (a job that failed and is not resumed), its earlier runs' part included.

        A broadcast that was complete when this run began stays, and so does one that another run has taken over.
        """
        with self.lock:
            self._discarded = True
            self._manifests.cancel()
            if not self._begun or not self._fence.holds():
                return
            timeline = self.ledger.timeline or Timeline(created_unix_ms=0, segment_ms=0)
            names = manifest_names(timeline)
            # The ledger before what it lists: a run that finds one relies on it.
            names += [*reversed(self.ledger.parts.names), *self._unlisted]
            names += named_objects(timeline)
            for name in [*names, FENCE]:
                self.store.delete(name)
            self.store.prune()

    def close(self, *, wait_for_puts: bool = True) -> None:
        """Release the threads."""
        self._manifests.cancel()
        self._puts.close(wait_for_puts=wait_for_puts)

    def _put_objects(self, objects: Sequence[tuple[str, Callable[[], bytes]]]) -> None:
        """Write objects, each as its function gives it, and see to it that nobody has taken over meanwhile."""
        self._unlisted = [name for name, _ in objects]
        # Meanwhile, because it takes as long; what a run writes that is not in charge any more does no harm.
        self._puts.read_and_put(objects, *([self._fence.look] if self.store.remote else []))

    def _on_time(self) -> None:
        """Manifests are due that could not be written at once."""
        with self.lock:
            if not self._manifests.on_schedule() or self._discarded or self.timeline.ended:
                return
            try:
                self._check_fence()
                self._put_manifests()
            except FencedError:
                return  # whoever publishes now writes them
            except OutputError:
                self._manifests.schedule(AGAIN_S)
            except RuntimeError:
                return  # closed at this very moment

    def _put_manifests(self) -> None:
        self._manifests.write(self.ledger)
        self._expiry.note(self.ledger)

    def _check_fence(self) -> None:
        if self._discarded:
            raise FencedError(f"the publishing to {self.store.url} was given up")
        self._fence.check()
