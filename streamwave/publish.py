"""Publishing: segments, then playlists and manifest, then the ledger. What a manifest names is durably stored."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from fractions import Fraction
from pathlib import Path

from streamwave.errors import FencedError, MediaError, OutputError
from streamwave.expiry import Expiry
from streamwave.layout import FENCE, MANIFEST, MASTER, init_name, playlist_name, recording_name, segment_name
from streamwave.manifest.dash import render_mpd
from streamwave.manifest.hls import playlist_renditions, render_master, render_media
from streamwave.manifest.ledger import BroadcastLine, ChunkLine, EndLine, InfoLine, Ledger, PeriodLine, TrackLine
from streamwave.manifest.memo import Memo
from streamwave.manifest.timeline import Timeline
from streamwave.package import PackagedChunk
from streamwave.storage.store import Store

#: Objects of one chunk that are written at the same time.
PARALLEL_PUTS = 8


class Publication:
    """One broadcast being published by this run. Thread-safe; chunks must come in order.

    ``manifests`` False holds the manifests back until the end (a file that is being transcoded is not yet watchable).
    """

    def __init__(self, store: Store, *, manifests: bool, token: str, utc_timing_url: str | None = None) -> None:
        self.store = store
        self.ledger = Ledger.load(store)
        self._expiry = Expiry(store)
        self._manifests = manifests
        self._utc_timing_url = utc_timing_url
        self._token = token
        self._lock = threading.RLock()
        self._pool = ThreadPoolExecutor(PARALLEL_PUTS, thread_name_prefix="put")
        self._begun = False
        self._unlisted: list[str] = []  # objects of the chunk that is being written, which the ledger does not know yet
        self._discarded = False
        self._unsaved = False
        self._memo = Memo()
        #: Of the last chunks: milliseconds from the arrival of the last frame to the manifest that names it.
        self.latencies_ms: deque[int] = deque(maxlen=300)

    @property
    def timeline(self) -> Timeline:
        """What has been published."""
        assert self.ledger.timeline is not None
        return self.ledger.timeline

    def begin(self, header: BroadcastLine) -> None:
        """Take over the publishing, fence out any earlier run, and start the ledger unless there is one.

        Raises:
            OutputError: the place holds another broadcast, or cannot be written.
        """
        with self._lock:
            if self.ledger.header is not None and self.ledger.header.fingerprint != header.fingerprint:
                raise OutputError(
                    f"{self.store.url} already holds a broadcast; choose another output, or replace it with --overwrite"
                )
            self._begun = self.ledger.timeline is None or not self.timeline.ended
            self.store.put(FENCE, json.dumps({"token": self._token}).encode())
            if self.ledger.header is None:
                self.ledger.append(header)

    def describe(self, info: dict[str, str]) -> None:
        """Have the next manifest say ``info`` of the broadcast; it is in the ledger with the next chunk."""
        with self._lock:
            if self.ledger.timeline is not None and not self.timeline.ended and self.timeline.info != info:
                self.ledger.append(InfoLine(info=info), save=False)

    def next_chunk(self, session: str) -> int | None:
        """Number of the first chunk of ``session`` that is still to be published; None if the session is complete."""
        with self._lock:
            sessions = [period.session for period in self.ledger.periods]
            if session not in sessions:
                return 0
            return self.ledger.next_chunk if sessions[-1] == session else None

    def publish(self, chunk: PackagedChunk, session: str, period: str, wall_unix_ms: int | None = None) -> None:
        """Store the next chunk of ``session`` and make it visible. Repeating the last one is harmless.

        The first chunk of a session opens a period called ``period``; ``wall_unix_ms`` is the wall clock at its first
        picture (None for a file).

        Raises:
            MediaError: it does not join on, or its init segment differs from its period's.
            OutputError: the store refused; nothing names what is missing.
            FencedError: another run publishes this broadcast now.
        """
        with self._lock:
            self._check_fence()
            last = self.ledger.periods[-1] if self.ledger.periods else None
            opens = last is None or last.session != session
            if opens and any(period.session == session for period in self.ledger.periods):
                raise MediaError(f"session {session} was to be published, but a later one has begun")
            if opens or chunk.number != self.ledger.next_chunk - 1:
                self._publish_next(chunk, session, period if opens else None, wall_unix_ms)
            if self._unsaved:
                # Either new, or left over from a try that broke off in between.
                if self._manifests:
                    self._put_manifests()
                if chunk.closed_unix_ms:
                    self.latencies_ms.append(time.time_ns() // 1_000_000 - chunk.closed_unix_ms)
                self.ledger.save()
                self._unsaved = False
            self._expiry.run(self.ledger)

    def _publish_next(self, chunk: PackagedChunk, session: str, opening: str | None, wall_unix_ms: int | None) -> None:
        """Write the objects of ``chunk`` and extend the timeline by it."""
        tracks = tuple(
            TrackLine(
                rendition=t.rendition, timescale=t.timescale, codecs=t.codecs, init_sha256=t.init_sha256,
                init_size=t.init_size, frame_rate=t.frame_rate,
            )
            for t in chunk.tracks
        )  # fmt: skip
        name = opening or self.ledger.periods[-1].name
        if opening is None:
            if chunk.number != self.ledger.next_chunk:
                raise MediaError(f"chunk {chunk.number} was to be published, but {self.ledger.next_chunk} is the next")
            if tracks != self.ledger.periods[-1].tracks:
                raise MediaError(f"chunk {chunk.number} was encoded with other settings than those before it")
        objects: list[tuple[str, Path]] = []
        for track in chunk.tracks:
            if opening is not None:
                objects.append((init_name(name, track.rendition.name), Path(track.init_path)))
            objects.extend((segment_name(name, track.rendition.name, s.time), Path(s.path)) for s in track.segments)
        self._put_files(objects)
        self._check_fence()  # again: writing may have taken long
        if opening is not None:
            self.ledger.append(
                PeriodLine(
                    name=opening, session=session, first_chunk=chunk.number, start=self._period_start(wall_unix_ms),
                    wall_unix_ms=wall_unix_ms, tracks=tracks,
                ),
                save=False,
            )  # fmt: skip
        segments = {t.rendition.name: tuple((s.time, s.duration, s.size) for s in t.segments) for t in chunk.tracks}
        self.ledger.append(ChunkLine(number=chunk.number, segments=segments, filled=chunk.filled), save=False)
        self._unsaved = True
        self._unlisted = []

    def _period_start(self, wall_unix_ms: int | None) -> Fraction:
        """Where a period begins, in seconds: while live, by the wall clock, which is what players take the live edge from.

        Once the broadcast has ended, the ledger closes the gaps.
        """
        end = self.timeline.duration
        if wall_unix_ms is None:
            return end
        return max(end, Fraction(wall_unix_ms - self.timeline.created_unix_ms, 1000))

    def finish(self) -> None:
        """The broadcast is complete: static manifests, then the end of the ledger."""
        with self._lock:
            if self.timeline.ended and not self._unsaved:
                return
            self._check_fence()
            if not self.timeline.ended:
                self.ledger.append(EndLine(), save=False)
                self._unsaved = True
            if self.ledger.periods:
                self._put_manifests()
            self.ledger.save()
            self._unsaved = False

    def discard(self) -> None:
        """Remove the unfinished broadcast (a job that failed and is not resumed), its earlier runs' part included.

        A broadcast that was complete when this run began stays, and so does one that another run has taken over.
        """
        with self._lock:
            self._discarded = True
            if not self._begun or not self._holds_fence():
                return
            timeline = self.ledger.timeline or Timeline(created_unix_ms=0, segment_ms=0)
            names = [MANIFEST, MASTER]
            names += [name(r.name) for r in playlist_renditions(timeline) for name in (playlist_name, recording_name)]
            # The ledger before what it lists: a run that finds one relies on it.
            names += [*reversed(self.ledger.part_names), *self._unlisted]
            for period in timeline.periods:
                for rendition, track in period.tracks.items():
                    names += [segment_name(period.name, rendition, segment.time) for segment in track.segments]
                    names.append(init_name(period.name, rendition))
            for name in [*names, FENCE]:
                self.store.delete(name)
            self.store.prune()

    def close(self) -> None:
        """Release the threads."""
        self._pool.shutdown(wait=True)

    def _put_files(self, objects: Sequence[tuple[str, Path]]) -> None:
        self._unlisted = [name for name, _ in objects]
        self._together(self._pool.submit(self._put_file, name, path) for name, path in objects)

    def _put_file(self, name: str, path: Path) -> None:
        self.store.put(name, path.read_bytes())

    def _together(self, puts: Iterable[Future[None]]) -> None:
        """Wait for all of them, also when one fails: none may still be writing when that is cleaned up after."""
        done = wait(list(puts)).done
        for put in done:
            put.result()

    def _put_manifests(self) -> None:
        shown = self.ledger.shown
        assert shown is not None
        now_unix_ms = time.time_ns() // 1_000_000
        playlists, named = [(shown, playlist_name)], playlist_name
        if shown.ended and self.ledger.window is not None:
            # Players rely on numbers that never go back at one address: the window ends there, the recording is new.
            playlists, named = [(self.ledger.window, playlist_name), (shown, recording_name)], recording_name
        rendered = [
            (name(rendition.name), render_media(timeline, rendition.name, self._memo))
            for timeline, name in playlists
            for rendition in playlist_renditions(timeline)
        ]
        self._together(self._pool.submit(self.store.put, name, data) for name, data in rendered)
        self.store.put(MASTER, render_master(shown, playlist_name=named))
        mpd = render_mpd(shown, now_unix_ms=now_unix_ms, utc_timing_url=self._utc_timing_url, memo=self._memo)
        self.store.put(MANIFEST, mpd)
        self._expiry.note(self.ledger)

    def _check_fence(self) -> None:
        if self._discarded:
            raise FencedError(f"the publishing to {self.store.url} was given up")
        if not self._holds_fence():
            raise FencedError(f"another run has taken over {self.store.url}; this one ends")

    def _holds_fence(self) -> bool:
        data = self.store.get(FENCE)
        return data is not None and json.loads(data).get("token") == self._token
