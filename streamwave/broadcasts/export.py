"""Export a broadcast to one MP4 file without re-encoding.

Samples are copied from the published segments with their presentation times, so that audio and video stay in sync.
Periods follow each other as in the recording.
"""

from __future__ import annotations

import errno
import heapq
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
from av import Packet

from streamwave.errors import MediaError, OutputError, UsageError
from streamwave.ffmpeg.chunks import UNDECODED
from streamwave.layout import init_name, segment_name
from streamwave.manifest.timeline import Period, Timeline, Track
from streamwave.mp4.fragment import read_fragment
from streamwave.mp4.init import read_init
from streamwave.mp4.split import split_file
from streamwave.storage.store import Store
from streamwave.timing import round_half_up
from streamwave.util.private import umask_of_user

#: Segments of a track that are prefetched while another is being written.
AHEAD = 4


@dataclass(frozen=True)
class Part:
    """A period in an export: its tracks, and its start in the file, in seconds.

    ``lead`` is the time from the period's start to its first remaining segment, which a DVR window may have moved.
    """

    period: Period
    tracks: tuple[Track, ...]
    start: Fraction
    lead: Fraction

    @property
    def segments(self) -> int:
        """Number of segments of all its tracks."""
        return sum(len(track.segments) for track in self.tracks)


def plan(timeline: Timeline, rendition: str | None = None, *, audio: bool = True) -> list[Part]:
    """Choose the tracks to export from each period: the video rendition ``rendition`` (default: the best) and the audio.

    Raises:
        UsageError: there is no such rendition, or a period lacks it.
    """
    periods = [p for p in timeline.periods if any(t.segments for t in p.tracks.values())]
    if not periods:
        raise UsageError("nothing has been published yet, so there is nothing to export")
    known = {name: t.rendition for p in periods for name, t in p.tracks.items()}
    if rendition is not None and rendition not in known:
        raise UsageError(f"there is no rendition {rendition!r}; choose one of {', '.join(known)}")
    parts, start = [], Fraction(0)
    for period in periods:
        tracks = _choose(period, rendition, audio)
        lead = tracks[0]
        offset = Fraction(lead.segments[0].time, lead.timescale)
        parts.append(Part(period, tracks, start, offset))
        start += period.duration - offset
    return parts


def _choose(period: Period, name: str | None, audio: bool) -> tuple[Track, ...]:
    tracks = [t for t in period.tracks.values() if t.segments]
    sound = [t for t in tracks if t.rendition.kind == "audio"]
    pictures = [t for t in tracks if t.rendition.kind == "video"]
    if name is None:
        chosen = [max(pictures, key=lambda t: (t.rendition.max_bps, t.rendition.height))] if pictures else sound[:1]
    else:
        chosen = [t for t in tracks if t.rendition.name == name]
        if not chosen:
            names = ", ".join(t.rendition.name for t in tracks)
            raise UsageError(
                f"period {period.name} has no rendition {name!r}, only {names}; choose one that all periods have"
            )
    with_sound = audio and chosen[0].rendition.kind == "video"
    return tuple(chosen + sound[:1]) if with_sound else tuple(chosen)


def joined(store: Store, parts: Sequence[Part]) -> list[list[Part]]:
    """Group consecutive ``parts`` with equal init segments; one file can hold one group.

    Raises:
        OutputError: an init segment is missing.
    """
    groups: list[list[Part]] = []
    last: list[bytes] = []
    for part in parts:
        inits = [need(store, init_name(part.period.name, track.rendition.name)) for track in part.tracks]
        if groups and inits == last:
            groups[-1].append(part)
        else:
            groups.append([part])
        last = inits
    return groups


def need(store: Store, name: str) -> bytes:
    """The object ``name``. Raises OutputError if it is missing."""
    data = store.get(name)
    if data is None:
        raise OutputError(f"{store.url}/{name} is missing; Broadcast.verify() lists all problems")
    return data


def write_mp4(
    store: Store, parts: Sequence[Part], target: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Write ``parts``, which must be one group of ``joined``, to ``target``, atomically.

    The index comes first (faststart), so that the file plays while it is being downloaded. ``progress`` gets the number of
    segments written so far and their total.

    Raises:
        OutputError: an object is missing, or the file cannot be written.
        MediaError: a segment is damaged.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    total = sum(part.segments for part in parts)
    with _explained(target):
        try:
            with ThreadPoolExecutor(2 * AHEAD, thread_name_prefix="fetch") as pool:
                _mux(store, parts, temporary, pool, lambda done: progress(done, total))
            with temporary.open("rb") as file:
                os.fchmod(
                    file.fileno(), 0o666 & ~umask_of_user()
                )  # the umask of the user, not StreamWave's stricter one
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # includes av.FFmpegError, whose subclasses derive from it
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"{target} cannot be written (no space left; free some or choose another place)"
            ) from None
        raise OutputError(f"{target} cannot be written ({error.strerror}); choose another place") from None
    except av.FFmpegError as error:
        raise MediaError(
            f"the segments cannot be joined ({error.strerror}); Broadcast.verify() lists all problems"
        ) from None


def _mux(
    store: Store, parts: Sequence[Part], path: Path, pool: ThreadPoolExecutor, progress: Callable[[int], None]
) -> None:
    tracks, origin = parts[0].tracks, parts[0].start
    options = {"movflags": "+faststart", "use_editlist": "1"}
    if tracks[0].rendition.kind == "video":
        options["video_track_timescale"] = str(tracks[0].timescale)
    inits = [need(store, init_name(parts[0].period.name, track.rendition.name)) for track in tracks]
    with av.open(str(path), "w", format="mp4", options=options) as container:
        streams: list[Any] = []
        for track, init in zip(tracks, inits, strict=True):
            first = need(store, segment_name(parts[0].period.name, track.rendition.name, track.segments[0].time))
            with av.open(BytesIO(init + first), "r", options=UNDECODED) as source:
                if not source.streams:
                    raise MediaError(f"{init_name(parts[0].period.name, track.rendition.name)}: has no track")
                try:
                    stream: Any = container.add_stream_from_template(source.streams[0])
                except ValueError:  # unknown codec
                    raise MediaError(f"{init_name(parts[0].period.name, track.rendition.name)}: damaged") from None
            stream.time_base = Fraction(1, track.timescale)
            streams.append(stream)
        done = 0
        for part in parts:
            lanes = [
                _packets(store, part, index, inits[index], streams[index], part.start - origin, pool)
                for index in range(len(part.tracks))
            ]
            for _, _, packet in heapq.merge(*lanes, key=lambda item: item[:2]):
                if packet is None:
                    done += 1
                    progress(done)
                else:
                    container.mux_one(packet)


def _packets(
    store: Store, part: Part, index: int, init: bytes, stream: Any, start: Fraction, pool: ThreadPoolExecutor
) -> Iterator[tuple[Fraction, int, Packet[Any] | None]]:
    """Yield (decode time in seconds, track index, packet) for a track of a period; the packet is None after each segment."""
    track = part.tracks[index]
    summary = read_init(init)
    shift = round_half_up((start - part.lead) * track.timescale)
    floor = round_half_up(start * track.timescale)
    for name, time, data in _fetched(store, part.period.name, track, pool):
        at, due = Fraction(0), time
        try:
            _, fragments = split_file(init + data)
            for fragment in fragments:
                found = read_fragment(fragment, summary)
                if found.time != due:  # the object was replaced by another one
                    raise MediaError(f"a fragment starts at {found.time} instead of {due}")
                due += found.duration
                decode = found.time - found.edit_ticks + shift
                for n, shown in enumerate(found.presentation_times):
                    position, length = found.positions[n], found.durations[n]
                    at = Fraction(decode, track.timescale)
                    if track.rendition.kind == "video" or decode + length > floor:
                        packet: Packet[Any] = Packet(fragment[position : position + found.sizes[n]])
                        packet.stream = stream
                        packet.time_base = Fraction(1, track.timescale)
                        packet.pts, packet.dts, packet.duration = shown + shift, decode, length
                        packet.is_keyframe = found.syncs[n]
                        yield at, index, packet
                    decode += length
        except MediaError as error:
            raise MediaError(f"{name}: {error}") from None
        yield at, index, None


def _fetched(store: Store, period: str, track: Track, pool: ThreadPoolExecutor) -> Iterator[tuple[str, int, bytes]]:
    """Yield (name, start in ticks, data) of the segments of a track in order, prefetching ``AHEAD`` of them."""
    waiting: list[tuple[str, int, Future[bytes]]] = []
    for segment in track.segments:
        name = segment_name(period, track.rendition.name, segment.time)
        waiting.append((name, segment.time, pool.submit(need, store, name)))
        if len(waiting) > AHEAD:
            ready, time, future = waiting.pop(0)
            yield ready, time, future.result()
    for ready, time, future in waiting:
        yield ready, time, future.result()
