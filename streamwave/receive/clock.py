"""One unbroken clock for a source whose timestamps jump, wrap around, or are missing.

Pictures and audio of a source share a clock. Where it jumps, both are shifted by the same amount, so that they stay in sync,
and the next picture follows directly after the last one (docs/decisions/0009-source-clock.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from av import Packet

from streamwave.receive.pictures import is_hidden
from streamwave.timing import round_half_up

Kind = Literal["video", "audio"]

#: A step ahead of more seconds than this is a jump; a shorter one is a pause, in which the picture is frozen.
AHEAD_S = Fraction(10)
#: A step back of more seconds than this is a jump; a shorter one is an inaccurate muxer.
BACK_S = Fraction(1, 2)
#: The same where only presentation times are known, which go back and forth with B-frames.
BACK_SHOWN_S = Fraction(1)
#: Pictures that may be decoded before one that is shown before them (ITU-T H.264, A.3.1: max_dec_frame_buffering).
MOST_REORDERED = 16
#: Seconds after which clocks wrap around: MPEG-TS (33 bits at 90 kHz), RTMP and FLV (32 bits of milliseconds, signed or not).
WRAPS_S = (Fraction(2**33, 90_000), Fraction(2**32, 1000), Fraction(2**31, 1000))
#: Audio that has jumped waits for the pictures to jump too, at most this many seconds and this many packets.
HOLD_S = Fraction(2)
HOLD_PACKETS = 200


@dataclass(frozen=True)
class Timed:
    """A packet on the unbroken clock; ``shown`` (presentation) and ``decoded`` in seconds."""

    packet: Packet[Any]
    kind: Kind
    shown: Fraction
    decoded: Fraction


@dataclass
class _Track:
    offset: Fraction = Fraction(0)  # seconds to add to the source's times
    due: Fraction | None = None  # when the next packet is expected
    by_shown: bool = False  # ``due`` follows from the last presentation time, because decoding times are unknown
    shown_until: Fraction | None = None
    step: Fraction = Fraction(0)  # duration of a packet


class SourceClock:
    """Puts packets on one clock, in the order in which they come.

    ``on_grid`` rounds a time to the frame grid, once that is known. ``jumps`` counts corrected jumps, ``untimed`` packets
    without a time. ``steady``: timestamps are our own, and are right however long no packet comes.
    """

    def __init__(self, *, video: bool, steady: bool = False) -> None:
        self.on_grid: Callable[[Fraction], Fraction] = lambda at: at
        self.jumps = 0
        self.untimed = 0
        self._video = video
        self._steady = steady
        self._tracks: dict[Kind, _Track] = {"video": _Track(), "audio": _Track()}
        self._newest = Fraction(0)  # offset of the track that jumped last
        self._held: list[Packet[Any]] = []
        self._held_s = Fraction(0)

    def put(self, packet: Packet[Any], kind: Kind) -> Iterator[Timed]:
        """Take a packet; the packets that can be placed now, usually this one."""
        if kind == "audio" and self._held:
            yield from self._hold(packet)
            return
        before = self._newest
        timed = self._place(packet, kind)
        if timed is None:
            if kind == "audio" and (packet.pts is not None or packet.dts is not None):
                yield from self._hold(packet)
            else:
                self.untimed += 1
            return
        yield timed
        if kind == "video" and self._held and self._newest != before:
            yield from self.flush()

    def flush(self) -> Iterator[Timed]:
        """Place the audio that was waiting for a picture."""
        held, self._held, self._held_s = self._held, [], Fraction(0)
        for packet in held:
            timed = self._place(packet, "audio", alone=True)
            if timed is not None:
                yield timed

    def _hold(self, packet: Packet[Any]) -> Iterator[Timed]:
        self._held.append(packet)
        self._held_s += _seconds(packet.duration or 0, packet)
        if self._held_s > HOLD_S or len(self._held) > HOLD_PACKETS:
            yield from self.flush()

    def _place(self, packet: Packet[Any], kind: Kind, *, alone: bool = False) -> Timed | None:
        """The packet on this clock; None if it has no time at all, or is audio that has to wait for the pictures."""
        track = self._tracks[kind]
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None:
            # An elementary stream without timestamps: each packet follows the one before.
            track.step = _seconds(packet.duration or 0, packet) or track.step
            if kind == "video" and track.due is None and track.step:
                track.due = Fraction(0)
            return None if track.due is None else self._at(track, packet, kind, track.due, track.due)
        raw = _seconds(stamp, packet)
        if is_hidden(packet):  # its time is outside its edit, and may be within another one
            return Timed(packet, kind, raw + track.offset + _distance(packet), raw + track.offset)
        other = self._tracks["audio" if kind == "video" else "video"]
        due = track.due if track.due is not None else other.due
        # The first packet of a track may be well before the newest packet of the other track.
        back = AHEAD_S if track.due is None else BACK_S
        if track.due is not None and (packet.dts is None or track.by_shown):
            back = max(BACK_SHOWN_S, MOST_REORDERED * track.step)
        if due is not None and not self._steady and not -back <= raw + track.offset - due <= AHEAD_S:
            waits = kind == "audio" and self._video and not alone
            offset = self._mended(track, other, packet, raw, due, back, wait=waits)
            if offset is None:
                return None
            track.offset = self._newest = offset
        decoded = raw + track.offset
        shown = decoded if packet.pts is None else decoded + _distance(packet)
        return self._at(track, packet, kind, shown, decoded)

    def _mended(
        self,
        track: _Track,
        other: _Track,
        packet: Packet[Any],
        raw: Fraction,
        due: Fraction,
        back: Fraction,
        *,
        wait: bool,
    ) -> Fraction | None:
        """The offset for a packet that is far from where it is due; None to wait for the pictures to jump."""

        def fits(offset: Fraction) -> bool:
            return -back <= raw + offset - due <= AHEAD_S

        if fits(self._newest):
            return self._newest
        for period in WRAPS_S:
            for offset in (track.offset + period, track.offset - period):
                if fits(offset):
                    return offset
        at = raw + track.offset
        if at > due and other.due is not None and other.offset == track.offset and abs(other.due - at) <= AHEAD_S:
            return track.offset  # the other track went on meanwhile, so this was a pause
        if wait and other.due is not None:
            return None
        self.jumps += 1
        if track is self._tracks["audio"] or track.shown_until is None or not packet.is_keyframe:
            return track.offset + due - at
        # By its presentation time, because the number of reordered pictures may have changed.
        shown = at + (Fraction(0) if packet.pts is None else _distance(packet))
        return track.offset + self.on_grid(max(track.shown_until, due)) - shown

    def _at(self, track: _Track, packet: Packet[Any], kind: Kind, shown: Fraction, decoded: Fraction) -> Timed:
        length = _seconds(packet.duration or 0, packet)
        if not length and track.due is not None and 0 < decoded - (track.due - track.step) < 1:
            length = decoded - (track.due - track.step)
        track.step = length or track.step
        track.due, track.by_shown = decoded + track.step, packet.dts is None and packet.pts is not None
        until = shown + track.step
        track.shown_until = until if track.shown_until is None else max(until, track.shown_until)
        # After a jump back, earlier presentation times do not count.
        if track.shown_until - until > BACK_SHOWN_S:
            track.shown_until = until
        return Timed(packet, kind, shown, decoded)


def _seconds(stamp: int, packet: Packet[Any]) -> Fraction:
    assert packet.time_base is not None
    return stamp * Fraction(packet.time_base)


def _distance(packet: Packet[Any]) -> Fraction:
    """Seconds from a packet's decoding to its presentation time. One of the two may have wrapped around already."""
    if packet.pts is None or packet.dts is None:
        return Fraction(0)
    apart = _seconds(packet.pts - packet.dts, packet)
    for period in WRAPS_S:
        for unwrapped in (apart + period, apart - period):
            if abs(unwrapped) < AHEAD_S:
                apart = unwrapped
    return apart if abs(apart) < AHEAD_S else Fraction(0)


def in_step(first: Timed, track: Any) -> Timed:
    """A source's first picture, shown a little later if that puts the pictures after it on the grid that begins with it.

    In fragmented files by FFmpeg, the first picture is longer by the priming of the audio, half a picture or more.
    """
    length, rate = _seconds(first.packet.duration or 0, first.packet), Fraction(track.guessed_rate or 0)
    if not rate or abs(rate - Fraction(track.average_rate or 0)) * 20 > rate:
        return first  # the usual duration of a picture is unknown
    usual = 1 / rate
    if not usual < length < 4 * usual or length % usual < usual / 4:
        return first
    return replace(first, shown=first.shown + length % usual)


def shown_from(first: Timed, track: Any) -> Fraction:
    """Presentation time of a source's first visible picture, in seconds.

    The edit list of an MP4 file may hide pictures before it, and may begin within a hidden picture.
    """
    if not is_hidden(first.packet) or track.start_time is None:
        return first.shown
    start = Fraction(track.start_time * track.time_base)
    length = _seconds(first.packet.duration or 0, first.packet)
    if length and abs(length * Fraction(track.guessed_rate or 0) - 1) * 20 < 1:
        start = first.shown + -(-(start - first.shown) // length) * length
    return max(first.shown, start)


def heard_from(first: Timed, track: Any) -> Fraction:
    """When audio without pictures begins, in seconds: after the encoder's priming samples, which the decoder drops."""
    if track.start_time is not None:
        begins: Fraction = track.start_time * track.time_base
        if abs(begins - first.shown) < Fraction(1, 10):
            return begins
    return max(first.shown, Fraction(0))


def grid_from(origin: Fraction, rate: Fraction) -> Callable[[Fraction], Fraction]:
    """A function that rounds a time in seconds to the grid of ``rate`` pictures a second that begins at ``origin``."""
    return lambda at: origin + round_half_up((at - origin) * rate) / rate
