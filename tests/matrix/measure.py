"""The checks of every cell's result, made through the manifest as a player would; each returns faults as sentences."""

from __future__ import annotations

import io
import re
import subprocess
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import av
import numpy as np

from streamwave.mp4 import read_fragment, read_init, split_file, starts_with_idr
from streamwave.mp4.avcc import configuration
from streamwave.mp4.nal import IDR, split_nals
from streamwave.mp4.sps import pps_id, slice_pps
from streamwave.timing import AAC_FRAME
from tests.matrix.cell import Cell
from tests.matrix.edits import moving_edits
from tests.matrix.source import BEEP, BEEP_HZ
from tests.support.media import LOUD, ffmpeg_path, picture_flashes, picture_number
from tests.support.player import MPD_NS, Representation, Sound, decode_sound, load_mpd, representations

SYNC = Fraction(10, 1000)
#: RTMP, FLV and Matroska have millisecond timestamps: a frame between two points of the grid may go to either.
ROUNDING = Fraction(1, 1000)
#: Advice on the bit rate is ignored, because that of the small test patterns is arbitrary.
OF_BIT_RATE = frozenset({"bitrate-low", "bitrate-high"})


@dataclass(frozen=True)
class Shown:
    """A decoded frame: its time in seconds since the period's start, its number (None: unreadable), its size."""

    time: Fraction
    number: int | None
    flashes: bool
    size: tuple[int, int]


@dataclass(frozen=True)
class Period:
    """A period of the manifest; ``start`` in seconds."""

    start: Fraction
    renditions: dict[str, Representation]

    @property
    def videos(self) -> list[Representation]:
        """Its video renditions."""
        return [one for one in self.renditions.values() if one.kind == "video"]

    @cached_property
    def pictures(self) -> dict[str, list[Shown]]:
        """Every frame of every rendition, in presentation order."""
        return {video.name: list(_pictures(video)) for video in self.videos}

    @cached_property
    def sound(self) -> Sound | None:
        """All of its audio."""
        audio = next((one for one in self.renditions.values() if one.kind == "audio"), None)
        return decode_sound(audio.data) if audio is not None else None

    def rate(self, video: Representation) -> Fraction:
        """Frame rate, from the durations in the segments."""
        summary = read_init(video.init)
        _, fragments = split_file(video.init + video.segments[0].data)
        found = read_fragment(fragments[0], summary)
        return Fraction(video.timescale * found.sample_count, found.duration)


@dataclass(frozen=True)
class Outcome:
    """The result of a cell, below ``root``; ``filled`` is the number of chunks replaced by filler, ``advice`` are codes."""

    cell: Cell
    root: Path
    filled: int = 0
    damaged: int | None = None
    advice: frozenset[str] | None = None

    @cached_property
    def periods(self) -> list[Period]:
        """All periods of the manifest."""
        elements = load_mpd(self.root).findall("mpd:Period", MPD_NS)
        starts = [_seconds(element.get("start", "PT0S")) for element in elements]
        return [Period(start, representations(self.root, number)) for number, start in enumerate(starts)]

    def frames(self, name: str, period: int = 0) -> Iterator[av.VideoFrame]:
        """The decoded frames of a rendition."""
        with av.open(io.BytesIO(self.periods[period].renditions[name].data), "r") as container:
            yield from container.decode(video=0)

    def faults(self) -> list[str]:
        """All faults; empty if the result is exact."""
        try:
            found = [*self._shape(), *self._pictures(), *self._sound(), *self._boundaries(), *self._own()]
            found += [fault for look in self.cell.looks for fault in look(self)]
            return [*found, *(self._warnings() if self.cell.silent else [])]
        except TimeoutError:  # report it as the cell's fault
            raise
        except Exception as error:  # an unreadable result is a fault like any other
            return [f"unreadable: {type(error).__name__}: {error}"]

    def _shape(self) -> Iterator[str]:
        parts = self.cell.parts
        if len(self.periods) != (len(parts) if parts else 1):
            yield f"{len(self.periods)} periods"
        if self.cell.filled is not None and self.filled != self.cell.filled:
            yield f"{self.filled} chunks in black, not {self.cell.filled}"
        if None not in (self.damaged, self.cell.damaged) and self.damaged != self.cell.damaged:
            yield f"{self.damaged} chunks are said to be damaged, not {self.cell.damaged}"
        if self.advice is not None:
            asked = self.cell.advice & OF_BIT_RATE
            told = {code for code in self.advice if code not in OF_BIT_RATE or asked}
            if told != self.cell.advice:
                yield f"its publisher is told {sorted(told)}, not {sorted(self.cell.advice)}"
        for number, period in enumerate(self.periods):
            sizes = parts[number].sizes if parts and number < len(parts) else None
            due = sizes or (self.cell.sizes if self.cell.recipe.count else {})
            found = {
                video.name: (int(video.attributes["width"]), int(video.attributes["height"])) for video in period.videos
            }
            if found != due:
                yield f"renditions {found}, not {due}"
            for name, pictures in period.pictures.items():
                wrong = {picture.size for picture in pictures} - {found[name]}
                if wrong:
                    yield f"{name} decodes to {wrong}"
            if (period.sound is not None) != self.cell.has_sound:
                yield "there is no sound" if period.sound is None else "there is sound"

    def _pictures(self) -> Iterator[str]:
        for number, period in enumerate(self.periods):
            part = self.cell.parts[number] if self.cell.parts and number < len(self.cell.parts) else None
            rate = part.rate if part and part.rate else self.cell.rate
            for video in period.videos:
                where = f"p{number} {video.name}" if len(self.periods) > 1 else video.name
                found = period.rate(video)
                if rate is not None and found != rate:
                    yield f"{where}: {found} pictures a second, not {rate}"
                pictures = period.pictures[video.name]
                off = [p for n, p in enumerate(pictures) if p.time != n / found]
                if off:
                    yield f"{where}: a picture at {float(off[0].time):.4f} s is off the grid of {found}"
                if part is not None:
                    yield from _sequence(where, pictures, part.numbers)
                else:
                    yield from self._order(where, pictures, found)

    def _order(self, where: str, pictures: list[Shown], rate: Fraction) -> Iterator[str]:
        """Check that every grid point has the right frame, and that every frame appears."""
        cell = self.cell
        count = round(cell.due_end * rate)
        slack = 0 if cell.recipe.times is None and cell.end is None else 1
        if not -slack - cell.tail <= len(pictures) - count <= slack:
            yield f"{where}: {len(pictures)} pictures, not {count}"
        times, first = cell.shown_at, cell.recipe.numbers_from
        wrong = []
        for place, picture in enumerate(pictures[:count]):
            due = _due(times, place, rate)
            if picture.number not in {first + n for n in due} and not due & cell.hidden:
                wrong.append((place, picture.number, sorted(first + n for n in due)))
        if wrong:
            place, number, right = wrong[0]
            yield f"{where}: {len(wrong)} wrong pictures, the first at place {place}: {number}, not {right}"
        shown = {picture.number for picture in pictures}
        missing = [first + n for n in range(len(times)) if first + n not in shown and n not in cell.hidden]
        if missing:
            yield f"{where}: {len(missing)} pictures are missing: {missing[:6]}"

    def _sound(self) -> Iterator[str]:
        cell = self.cell
        if not cell.has_sound or any(period.sound is None for period in self.periods):
            return
        sounds = [period.sound for period in self.periods if period.sound is not None]
        for sound in sounds:
            if (sound.rate, sound.start) != (48000, 0):
                yield f"the sound begins at sample {sound.start}, at {sound.rate} Hz"
        if cell.parts is None:
            samples = sum(len(sound.samples) for sound in sounds)
            due = round(cell.due_sound_end * 48000)
            missing = cell.tail * 48000 // cell.recipe.rate
            if not -AAC_FRAME - missing <= samples - due <= AAC_FRAME + cell.padding:
                yield f"{samples} samples of sound, {due} were due"
        yield from self._sync(
            [(p, p.start + at) for p in self.periods if p.sound is not None for at in _beeps(p.sound)]
        )

    def _sync(self, heard_in: list[tuple[Period, Fraction]]) -> Iterator[str]:
        recipe = self.cell.recipe
        heard = recipe.beeps if self.cell.beeps is None else self.cell.beeps
        if not recipe.count:
            due = [recipe.shown_at[n] + Fraction(self.cell.lead, 48000) for n in heard]
            yield from _apart(due, [at for _, at in heard_in], "")
            return
        names = {video.name for period in self.periods for video in period.videos}
        for name in sorted(names):
            due = []
            for n in heard:
                number = recipe.numbers_from + n
                shown = [
                    period.start + picture.time
                    for period in self.periods
                    for picture in period.pictures.get(name, [])
                    if picture.number == number
                ]
                if shown or n in self.cell.hidden:
                    due.append((shown[0] if shown else recipe.shown_at[n]) * self.cell.sound_clock)
            # A rendition that is missing in a period has no video for that period's audio.
            yield from _apart(due, [at for period, at in heard_in if name in period.pictures], f"{name}: ")

    def _boundaries(self) -> Iterator[str]:
        for period in self.periods:
            grids = {}
            for track in period.renditions.values():
                if moving := moving_edits(track.init):
                    yield f"{track.name} has an edit list that changes times: {moving}"
                summary, place = read_init(track.init), 0
                for segment in track.segments:
                    _, fragments = split_file(track.init + segment.data)
                    found = [read_fragment(fragment, summary) for fragment in fragments]
                    if not found[0].time == segment.time == place:
                        yield f"{segment.name} is at {found[0].time}, by the manifest at {segment.time}, due at {place}"
                    if sum(fragment.duration for fragment in found) != segment.duration:
                        yield f"{segment.name} does not last {segment.duration}"
                    for fragment in found:  # readers need no edit list, and no signed offsets, to place it
                        if fragment.edit_ticks or min(fragment.composition_offsets) < 0:
                            yield f"{segment.name} has frames that are shown before they are decoded, or an edit list"
                        if not fragment.presentation_times[0] == fragment.earliest == fragment.time:
                            yield f"{segment.name}: a fragment at {fragment.time} is presented from {fragment.earliest} on"
                    if track.kind == "video":
                        if not starts_with_idr(fragments[0], summary):
                            yield f"{segment.name} does not begin with an IDR picture"
                    elif set(found[0].durations) != {AAC_FRAME}:
                        yield f"{segment.name} has frames of {set(found[0].durations)}"
                    place += segment.duration
                if track.kind == "video":
                    grids[track.name] = [(s.time, s.duration) for s in track.segments]
                    longest = Fraction(max(s.duration for s in track.segments), track.timescale)
                    if longest > self.cell.segment_s * Fraction(8, 5):
                        yield f"{track.name}: a segment of {float(longest):.2f} s"
            if len({tuple(grid) for grid in grids.values()}) > 1:
                yield f"boundaries differ between {', '.join(grids)}"

    def _own(self) -> Iterator[str]:
        own = [is_own for period in self.periods for is_own in own_segments(period.renditions.get("large"))]
        found = "all" if all(own) and own else "some" if any(own) else "none"
        if self.cell.own is not None and found != self.cell.own:
            yield f"{found} of the segments ({sum(own)} of {len(own)}) hold the source's own pictures, not {self.cell.own}"

    def _warnings(self) -> Iterator[str]:
        """FFmpeg's messages while it decodes everything, through both manifests.

        Its HLS demuxer warns of every new init segment, so broadcasts with several periods are also read track by track.
        """
        names = ("manifest.mpd", "master.m3u8") if len(self.periods) == 1 else ("manifest.mpd",)
        for name in names:
            yield from (f"{name}: {said}" for said in _said(b"", "-nostdin", "-i", name, folder=self.root))
        for number, period in enumerate(self.periods if len(self.periods) > 1 else ()):
            for track in period.renditions.values():
                for said in _said(track.data, "-i", "pipe:0", folder=self.root):
                    yield f"p{number} {track.name}: {said}"


def own_segments(video: Representation | None) -> list[bool]:
    """Whether each segment is passed through: encoded segments use the last parameter sets of the init segment."""
    if video is None:
        return []
    summary, last, found = read_init(video.init), configuration(video.init).pps[-1], []
    for segment in video.segments:
        fragments = split_file(video.init + segment.data)[1]
        first = read_fragment(fragments[0], summary)
        sample = fragments[0][first.positions[0] : first.positions[0] + first.sizes[0]]
        slice_ = next(nal for nal in split_nals(sample, summary.nal_length_bytes) if nal[0] & 0x1F == IDR)
        found.append(len(configuration(video.init).pps) > 1 and slice_pps(slice_) != pps_id(last))
    return found


def _pictures(video: Representation) -> Iterator[Shown]:
    with av.open(io.BytesIO(video.data), "r") as container:
        for frame in container.decode(video=0):
            luma = np.frombuffer(bytes(frame.planes[0]), np.uint8).reshape(-1, frame.planes[0].line_size)
            luma = luma[: frame.height, : frame.width]
            try:
                number = picture_number(luma)
            except AssertionError:
                number = None
            assert frame.pts is not None
            yield Shown(
                Fraction(frame.pts, video.timescale), number, picture_flashes(luma), (frame.width, frame.height)
            )


def _due(times: tuple[Fraction, ...], place: int, rate: Fraction) -> frozenset[int]:
    """Indices of the frames that may be at a grid point: two if rounding can go either way."""
    middle = (place + Fraction(1, 2)) / rate
    first, last = bisect_right(times, middle - ROUNDING), bisect_right(times, middle + ROUNDING)
    return frozenset(range(max(first - 1, 0), max(last, 1)))


def _sequence(where: str, pictures: list[Shown], numbers: tuple[int, ...] | None) -> Iterator[str]:
    found = tuple(picture.number for picture in pictures)
    if numbers is not None and found != numbers:
        pairs = [n for n, (a, b) in enumerate(zip(found, numbers, strict=False)) if a != b]
        first = pairs[0] if pairs else min(len(found), len(numbers))
        yield f"{where}: {len(found)} pictures, not {len(numbers)}; from {first} on {found[first : first + 4]}"


def _beeps(sound: Sound) -> list[Fraction]:
    """Start of each beep, in seconds: the best match of a whole beep, so that codec artefacts in its first milliseconds
    do not matter.
    """
    length = round(BEEP * sound.rate)
    turned = sound.samples * np.exp(-2j * np.pi * BEEP_HZ * np.arange(len(sound.samples)) / sound.rate)
    total = np.cumsum(np.concatenate([np.zeros(length), turned, np.zeros(length)]))
    fits = np.abs(total[length:] - total[:-length]) / length  # of a beep that begins ``length`` samples earlier
    heard = np.flatnonzero(fits > LOUD / 5)
    groups = np.split(heard, np.flatnonzero(np.diff(heard) > length) + 1) if heard.size else []
    return [Fraction(int(g[np.argmax(fits[g])]) - length + sound.start, sound.rate) for g in groups]


def _apart(due: list[Fraction], beeps: list[Fraction], where: str) -> Iterator[str]:
    """Check that each beep is at its expected time."""
    if len(due) != len(beeps):
        yield f"{where}{len(beeps)} beeps, {len(due)} were due ({_list(beeps)} instead of {_list(due)})"
        return
    off = [beep - at for at, beep in zip(due, beeps, strict=True)]
    worst = max(off, key=abs, default=Fraction(0))
    if abs(worst) > SYNC:
        yield f"{where}sound off by {float(worst) * 1000:.1f} ms at {float(due[off.index(worst)]):.2f} s"


def _list(times: list[Fraction]) -> str:
    return ", ".join(f"{float(time):.2f}" for time in times)


def _said(data: bytes, *source: str, folder: Path) -> Iterator[str]:
    """FFmpeg's messages while it decodes a whole source; ``data`` is its input on pipe:0."""
    command = [ffmpeg_path(), "-hide_banner", "-v", "warning", *source, "-map", "0", "-f", "null", "-"]
    done = subprocess.run(command, cwd=folder, capture_output=True, input=data, timeout=120)
    said = (done.stdout + done.stderr).decode().strip().splitlines()
    if done.returncode or said:
        yield f"FFmpeg ends with {done.returncode} and says {said[:2]}"


def _seconds(text: str) -> Fraction:
    """Parse an ISO 8601 duration of a manifest, in hours, minutes and seconds; the result is in seconds."""
    match = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?", text)
    assert match, text
    return Fraction(match[1] or 0) * 3600 + Fraction(match[2] or 0) * 60 + Fraction(match[3] or 0)
