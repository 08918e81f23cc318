"""From a source's packets of video to its pictures: one in each packet, each with the time at which it is shown.

Some sources send what belongs to a picture ahead of it, or the same twice; AVI packs two pictures into one packet and
knows only the order in which they are decoded; raw streams have no times at all; MP4 hides pictures by its edit list.
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

#: Codecs of which the order of display can be read from the packets when the container does not tell it.
_ORDERED = frozenset({"h264", "hevc"})
#: What the user data of MPEG-4 part 2 says where a packet may hold a picture and the one that is shown before it.
_PACKED = re.compile(rb"DivX\d+(?:Build|b)\d+p")
#: A picture in MPEG-4 part 2, whose next two bits are its kind (ISO/IEC 14496-2, 6.2.5).
_VOP, _B_VOP = b"\x00\x00\x01\xb6", 2
#: What comes so long before the next picture does not belong to it, but to one that got lost.
_LOST_S = Fraction(1, 2)
#: Packets from the beginning that are put behind the end, so that the last ones are told their order, too.
_FOLLOW = 32
#: The filter holds 64 packets.
_MOST_FOLLOWING = 128
#: Hidden packets that are held at most, until it is known whether they are needed.
_HELD = 600


@dataclass(frozen=True)
class _Mark:
    """How an edit list treats a packet: whether it is hidden and, for the first packet of an edit, how many ticks after it the
    first picture of the edit is shown."""

    hidden: bool
    begins: int | None = None


def is_hidden(packet: Packet[Any]) -> bool:
    """Whether an edit list hides the picture: it is there because shown ones may be decoded from it."""
    return packet.is_discard or (isinstance(packet.opaque, _Mark) and packet.opaque.hidden)


def edit_begins_s(packet: Packet[Any]) -> Fraction | None:
    """How many seconds after ``packet`` the edit begins that it is the first one of, if the edit hides any of its pictures."""
    begins = packet.opaque.begins if isinstance(packet.opaque, _Mark) else None
    return None if begins is None else begins * Fraction(packet.time_base or 0)


class Pictures:
    """The pictures of one track. ``put`` takes a packet, and at the end an empty one, and gives those that are ready."""

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
        """AVI shows its first picture at its beginning, however long a decoder takes to put the next ones into order.

        Nothing in it says that the sound would be late by as much.
        """
        if packet.pts is None or packet.dts is None:
            return
        if self._shift is None:
            self._shift = packet.pts - packet.dts
        packet.pts -= self._shift


class _Edits:
    """Of what an edit list hides, keeps what shown pictures are decoded from, and puts each edit in its place (ISO/IEC
    14496-12, 8.6.6).

    libavformat goes on behind an edit up to the second keyframe. The first packet of an edit that is shown gets the decoding
    time at which the edit begins; that is wrong by as much as the order of its pictures is another one than at the
    beginning of the first edit. What it shows in gaps is left out.
    """

    def __init__(self, stream: Any, gaps: Gaps) -> None:
        self._gaps = gaps
        self._start: int = stream.start_time or 0
        self._began: int | None = None  # decoding time of the first packet that is shown
        self._decoded: int | None = None
        self._opening = False  # it is not known yet which picture of the edit is shown first
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
            self._opening = True  # although time did not go back: the edit before is longer than its media
        if self._opening:
            shown = [one.pts or 0 for one in self._held if not one.is_discard]
            known = bool(shown) and packet.dts >= min(shown)
        else:
            known = not packet.is_discard
        if known or len(self._held) >= _HELD:
            ready += self._released()
        return ready

    def _opened(self) -> list[Packet[Any]]:
        """The first packets of an edit of which no more come, if any of them is shown."""
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
    """Whether ``key`` is hidden because it is before the edit of ``packet``, not after its end."""
    return key.is_keyframe and key.is_discard and (key.pts or 0) < (packet.pts or 0)


class _Joined:
    """Puts parameters, supplemental information and the like that come alone in front of the next picture.

    What comes a second time, as from a relay that stumbles, is left out.
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
    """Takes packets of MPEG-4 part 2 that hold two pictures apart. Only then are their times wrong, and made anew."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._filter: BitStreamFilterContext | None = None
        self._asked = False
        self._waiting: list[Packet[Any]] = []  # the last picture that is no B-frame, and the B-frames since

    def put(self, packet: Packet[Any]) -> list[Packet[Any]]:
        if not self._asked:
            self._asked = True
            if _PACKED.search((self._stream.codec_context.extradata or b"") + bytes(packet)[:1000]):
                self._filter = BitStreamFilterContext("mpeg4_unpack_bframes", self._stream)
        if self._filter is None:
            return [packet] if packet.size else []
        out: list[Packet[Any]] = []
        ended = not packet.size  # the filter takes what is in it
        for one in self._filter.filter(None if ended else packet):
            one.stream, one.time_base = self._stream, self._stream.time_base
            out += self._timed(one)
        if ended and self._waiting:
            last = self._waiting[-1]
            out += self._shown_at((last.dts or 0) + (last.duration or 0))
        return out

    def _timed(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """What is shown before ``packet``: a picture that is no B-frame is shown when the next such one is decoded."""
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
    """Gives pictures their presentation times where the container has only decoding times (AVI) or none (raw streams)."""

    def __init__(self, stream: Any, container: str) -> None:
        self._stream = stream
        self._untold = container == "avi"  # libavformat makes some up, in the order of decoding
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
        elif self._lengths and not self._untold:  # by its arrival, and the duration is what the demuxer supposes
            length = packet.dts - self._next + self._lengths[-1]
        packet.pts = None
        self._next = packet.dts + length
        self._lengths.append(length)
        if len(self._first) < _FOLLOW:
            self._first.append(bytes(packet))
        self._left += 1
        return self._out(self._filter.filter(packet))

    def _rest(self) -> list[Packet[Any]]:
        """The filter does not know the order of the last GOP until one more has begun: it is given the first again.

        Of what is in it when it is told of the end it may mix GOPs up, so it is filled until all is out.
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
    """Puts the two fields of a picture, which broadcasts send apart, into one packet."""

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
