"""Turns a source's video packets into pictures: one in each packet, each with its presentation time.

Some sources send parameter sets in packets of their own, or packets twice; AVI packs two pictures into one packet and stores
only the decoding order; elementary streams have no timestamps at all; MP4 hides pictures by its edit list.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle, islice
from typing import Any

from av import Packet
from av.bitstream import BitStreamFilterContext

from streamwave.receive.fields import Field, Fields
from streamwave.receive.gaps import Gaps, in_gap
from streamwave.receive.nals import holds_no_picture

#: Codecs whose display order can be read from the packets if the container does not store it.
_ORDERED = frozenset({"h264", "hevc"})
#: User data of MPEG-4 part 2 streams in which a packet may hold a picture together with the one shown before it.
_PACKED = re.compile(rb"DivX\d+(?:Build|b)\d+p")
#: A picture in MPEG-4 part 2, whose next two bits are its coding type (ISO/IEC 14496-2, 6.2.5).
_VOP, _B_VOP = b"\x00\x00\x01\xb6", 2
#: Packets without a picture that come more seconds before the next picture belong to one that was lost.
_LOST_S = Fraction(1, 2)
#: Packets from the beginning that are appended at the end, so that the filter finds the order of the last ones too.
_FOLLOW = 32
#: Most packets that are appended; the filter holds 64.
_MOST_FOLLOWING = 128
#: Most hidden packets that are held until it is known whether they are needed.
_HELD = 600


@dataclass(frozen=True)
class _Mark:
    """How an edit list treats a packet.

    ``begins`` is set on the first packet of an edit: the ticks from that packet to the first picture that the edit shows.
    """

    hidden: bool
    begins: int | None = None


def is_hidden(packet: Packet[Any]) -> bool:
    """Whether an edit list hides the picture, which is only kept because shown pictures may refer to it."""
    return packet.is_discard or (isinstance(packet.opaque, _Mark) and packet.opaque.hidden)


def edit_begins_s(packet: Packet[Any]) -> Fraction | None:
    """Seconds from ``packet`` to the first shown picture, if ``packet`` is the first of an edit that hides some pictures."""
    begins = packet.opaque.begins if isinstance(packet.opaque, _Mark) else None
    return None if begins is None else begins * Fraction(packet.time_base or 0)


class Pictures:
    """The pictures of one track. ``put`` takes a packet, or an empty one at the end, and returns the packets that are ready."""

    def __init__(self, stream: Any, container: str, gaps: Gaps = ()) -> None:
        name = stream.codec_context.name if stream.codec_context is not None else ""
        self._stages: list[_Edits | _Joined | _Unpacked | _Order | _Paired] = []
        if name in _ORDERED:
            self._stages = [_Joined(stream, name), _Order(stream, container)]
            if name == "h264":
                self._stages.append(_Paired(stream))
        elif name == "mpeg4" and container == "avi":
            self._stages = [_Unpacked(stream)]
        if "mp4" in container.split(","):
            self._stages.insert(0, _Edits(stream, gaps))
        self._ended = False
        self._shift: int | None = None if container == "avi" else 0

    def put(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """The packets that are ready; an empty packet asks for the rest."""
        if self._ended:
            return []
        self._ended = not packet.size
        ready, last = [packet], [] if packet.size else [packet]
        for stage in self._stages:
            ready = [out for one in [*(one for one in ready if one.size), *last] for out in stage.put(one)]
        ready = [one for one in ready if one.size]
        for one in ready if self._shift != 0 else ():
            self._undelayed(one)
        return ready

    def _undelayed(self, packet: Packet[Any]) -> None:
        """Undo the reordering delay in AVI, where the first picture is shown at the very beginning.

        The audio does not have that delay, so the two would be out of sync.
        """
        if packet.pts is None or packet.dts is None:
            return
        if self._shift is None:
            self._shift = packet.pts - packet.dts
        packet.pts -= self._shift


class _Edits:
    """Applies an edit list (ISO/IEC 14496-12, 8.6.6): drops hidden pictures that no shown one refers to, and places each edit.

    libavformat reads past the end of an edit up to the second keyframe. It gives the first shown packet of an edit the decoding
    time at which the edit begins. That is off by the difference between the reordering of these pictures and of those at the
    beginning of the first edit. Packets that libavformat puts into gaps are dropped.
    """

    def __init__(self, stream: Any, gaps: Gaps) -> None:
        self._gaps = gaps
        self._start: int = stream.start_time or 0
        self._began: int | None = None  # decoding time of the first packet that is shown
        self._decoded: int | None = None
        self._opening = False  # the first shown picture of the edit is not known yet
        self._shift = 0
        self._held: list[Packet[Any]] = []

    def put(self, packet: Packet[Any]) -> list[Packet[Any]]:
        if not packet.size or packet.pts is None or packet.dts is None:
            return [*self._opened(), *([packet] if packet.size else [])]
        ready: list[Packet[Any]] = []
        if self._decoded is not None and packet.dts <= self._decoded:
            ready = self._opened()
            self._held, self._opening = [], True
        self._decoded = packet.dts
        if packet.is_discard and packet.is_keyframe and all(one.is_discard for one in self._held):
            self._held = []
        self._held.append(packet)
        if self._began is not None and not packet.is_discard and _leads(self._held[0], packet):
            self._opening = True  # although time did not go back, because the edit before is longer than its media
        if self._opening:
            shown = [one.pts or 0 for one in self._held if not one.is_discard]
            known = bool(shown) and packet.dts >= min(shown)
        else:
            known = not packet.is_discard
        if known or len(self._held) >= _HELD:
            ready += self._released()
        return ready

    def _opened(self) -> list[Packet[Any]]:
        """The held packets at the beginning of an edit that has ended, if any of them is shown."""
        shows = self._opening and any(not one.is_discard for one in self._held)
        return self._released() if shows else []

    def _released(self) -> list[Packet[Any]]:
        ready, self._held = self._held, []
        shown = [(one.dts or 0, one.pts or 0) for one in ready if not one.is_discard]
        if shown and self._began is None:
            self._began = shown[0][0]
        elif shown and self._opening:
            first = min(pts for _, pts in shown)
            self._shift = self._start + shown[0][0] - (self._began or 0) - first
            if len(shown) < len(ready):
                ready[0].opaque = _Mark(ready[0].is_discard, first - (ready[0].pts or 0))
        self._opening = False
        for one in ready:
            one.pts, one.dts = (one.pts or 0) + self._shift, (one.dts or 0) + self._shift
        return [] if any(in_gap(self._gaps, one) for one in ready if not one.is_discard) else ready


def _leads(key: Packet[Any], packet: Packet[Any]) -> bool:
    """Whether ``key`` is hidden because it precedes the edit of ``packet``, not because it follows its end."""
    return key.is_keyframe and key.is_discard and (key.pts or 0) < (packet.pts or 0)


class _Joined:
    """Puts parameter sets, SEI and the like that come in packets of their own in front of the next picture.

    A packet that is repeated, as by a relay with hiccups, is dropped.
    """

    def __init__(self, stream: Any, codec: str) -> None:
        self._stream, self._codec = stream, codec
        self._ahead: list[Packet[Any]] = []
        self._before: tuple[int | None, int | None, bytes] | None = None

    def put(self, packet: Packet[Any]) -> list[Packet[Any]]:
        if not packet.size:
            return []
        data = bytes(packet)
        extradata = self._stream.codec_context.extradata
        if packet.has_sidedata("new_extradata"):
            extradata = bytes(packet.get_sidedata("new_extradata"))
        if holds_no_picture(data, self._codec, extradata):
            self._ahead.append(packet)
            return []
        seen, self._before = self._before, (packet.pts, packet.dts, data)
        if packet.dts is not None and seen == self._before:
            return []
        ahead, self._ahead = self._ahead, []
        lost = [one for one in ahead if _apart_s(one, packet) > _LOST_S]
        joined = b"".join(bytes(one) for one in ahead if one not in lost)
        return [*lost, _copy(packet, joined + data) if joined else packet]


def _apart_s(before: Packet[Any], after: Packet[Any]) -> Fraction:
    if before.dts is None or after.dts is None:
        return Fraction(0)
    return (after.dts - before.dts) * Fraction(after.time_base or 0)


def _copy(packet: Packet[Any], data: bytes) -> Packet[Any]:
    copy: Packet[Any] = Packet(data)
    copy.stream, copy.time_base = packet.stream, packet.time_base
    copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
    copy.is_keyframe = packet.is_keyframe
    copy.opaque = packet.opaque if isinstance(packet.opaque, _Mark) else _Mark(is_hidden(packet))
    for side in packet.iter_sidedata():
        copy.set_sidedata(side)
    return copy


class _Unpacked:
    """Splits packets of MPEG-4 part 2 that hold two pictures, whose times are wrong, and gives the pictures new times."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._filter: BitStreamFilterContext | None = None
        self._asked = False
        self._waiting: list[Packet[Any]] = []  # the last picture other than a B-frame, and the B-frames since

    def put(self, packet: Packet[Any]) -> list[Packet[Any]]:
        if not self._asked:
            self._asked = True
            if _PACKED.search((self._stream.codec_context.extradata or b"") + bytes(packet)[:1000]):
                self._filter = BitStreamFilterContext("mpeg4_unpack_bframes", self._stream)
        if self._filter is None:
            return [packet] if packet.size else []
        out: list[Packet[Any]] = []
        ended = not packet.size  # the filter consumes the packet
        for one in self._filter.filter(None if ended else packet):
            one.stream, one.time_base = self._stream, self._stream.time_base
            out += self._timed(one)
        if ended and self._waiting:
            last = self._waiting[-1]
            out += self._shown_at((last.dts or 0) + (last.duration or 0))
        return out

    def _timed(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """The pictures shown before ``packet``. A picture other than a B-frame is shown when the next one is decoded."""
        data = bytes(packet)
        at = data.find(_VOP)
        if at >= 0 and at + 4 < len(data) and data[at + 4] >> 6 == _B_VOP:
            packet.pts = packet.dts
            self._waiting.append(packet)
            return []
        ready = self._shown_at(packet.dts)
        self._waiting = [packet]
        return ready

    def _shown_at(self, at: int | None) -> list[Packet[Any]]:
        ready, self._waiting = self._waiting, []
        if ready:
            ready[0].pts = at
        return ready


class _Order:
    """Finds presentation times where the container has only decoding times (AVI) or no times (elementary streams)."""

    def __init__(self, stream: Any, container: str) -> None:
        self._stream = stream
        self._untold = container == "avi"  # libavformat invents presentation times, in decoding order
        self._filter: BitStreamFilterContext | None = None
        self._asked = False
        self._next = 0
        self._first: list[bytes] = []
        self._lengths: deque[int] = deque(maxlen=1)
        self._left = 0

    def put(self, packet: Packet[Any]) -> list[Packet[Any]]:
        if not self._asked:
            self._asked = True
            if packet.size and (packet.pts is None or self._untold) and packet.duration:
                self._filter = BitStreamFilterContext("dts2pts", self._stream)
        if self._filter is None:
            return [packet] if packet.size else []
        if not packet.size:
            return self._rest()
        length = packet.duration or 0
        if packet.dts is None:
            packet.dts = self._next
        elif self._lengths and not self._untold:  # its time is its arrival; its duration is assumed
            length = packet.dts - self._next + self._lengths[-1]
        packet.pts = None
        self._next = packet.dts + length
        self._lengths.append(length)
        if len(self._first) < _FOLLOW:
            self._first.append(bytes(packet))
        self._left += 1
        return self._out(self._filter.filter(packet))

    def _rest(self) -> list[Packet[Any]]:
        """The pictures that are still in the filter.

        It finds the order of a GOP when the next one begins, so the first GOP is appended to the last. Flushing could mix up
        the GOPs that it holds, so packets are appended until all pictures have come out.
        """
        assert self._filter is not None
        out: list[Packet[Any]] = []
        for data in islice(cycle(self._first), _MOST_FOLLOWING):
            if not self._left:
                break
            again: Packet[Any] = Packet(data)
            again.stream, again.time_base = self._stream, self._stream.time_base
            again.dts, again.duration = self._next, self._lengths[-1]
            self._next += self._lengths[-1]
            out += self._out(self._filter.filter(again))
        return [*out, *self._out(self._filter.filter(None))]

    def _out(self, filtered: list[Packet[Any]]) -> list[Packet[Any]]:
        ready, self._left = filtered[: self._left], self._left - min(self._left, len(filtered))
        for one in ready:
            one.stream, one.time_base = self._stream, self._stream.time_base
        return ready


class _Paired:
    """Joins the two fields of a picture, which TV broadcasts send in separate packets."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._extradata: bytes | None = stream.codec_context.extradata
        self._fields = Fields(self._extradata)
        self._first: tuple[Packet[Any], Field] | None = None

    def put(self, packet: Packet[Any]) -> list[Packet[Any]]:
        before, self._first = self._first, None
        waiting = [before[0]] if before is not None else []
        if not packet.size:
            return waiting
        if packet.has_sidedata("new_extradata"):
            self._extradata = bytes(packet.get_sidedata("new_extradata"))
            self._fields = Fields(self._extradata)
        field = self._fields.alone(bytes(packet), self._extradata)
        if field is None:
            return [*waiting, packet]
        if before is None or not field.ends(before[1]):
            self._first = (packet, field)
            return waiting
        whole = _copy(before[0], bytes(before[0]) + bytes(packet))
        whole.duration = (before[0].duration or 0) + (packet.duration or 0)
        return [whole]
