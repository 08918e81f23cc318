"""Move a fragment to another place on the timeline."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from streamwave.errors import MediaError
from streamwave.mp4.boxes import Box, Fields, box, find_all, full_box, iter_boxes, need
from streamwave.mp4.fragment import DATA_OFFSET, DURATION, FIRST_FLAGS, FLAGS, OFFSET, SIZE

#: sequence_number has 32 bits; a fragment every 2 s fills them in 272 years.
_MAX_SEQUENCE = (1 << 32) - 1

# Boxes of a moof that hold offsets into the file, or describe protection; moving them blindly would break them.
_IMMOVABLE = frozenset({"saio", "saiz", "senc", "uuid"})

# Composition offsets are 32-bit numbers that some readers take as signed even where they are not.
_MAX_OFFSET = (1 << 31) - 1


def retime(fragment: bytes, *, sequence: int, time: int, delay_ticks: int = 0) -> bytes:
    """``fragment`` with another sequence number and decode time (ticks); sample data and durations stay as they are.

    With ``delay_ticks`` (video: the number that `video_init` gets, two frames; audio: 0) every composition offset
    becomes old + delay, written out for every sample, and none is negative any more. The edit list takes the delay
    back, so every picture is presented when it was before. Why: a reader may take negative offsets at their word, or
    (all that are made of FFmpeg) move the whole track by the largest one that it happens to meet; without them there is
    nothing to disagree about. The runs become version 0 (ISO/IEC 14496-12, 8.8.8): it means the same as version 1 for
    such numbers, CMAF's brand cmfc allows it, and readers that never heard of version 1 understand it as well.

    tfdt always becomes version 1 (64 bits), so that the size of a fragment does not depend on its time. Equal arguments
    give equal bytes; but each call adds the delay, so give it FFmpeg's fragment, never one that was retimed before.

    Raises MediaError for a damaged fragment, numbers that do not fit, or pictures that need more delay.
    """
    if not 0 < sequence <= _MAX_SEQUENCE or not 0 <= time < 1 << 64:
        raise MediaError(f"a fragment can not have sequence number {sequence} and time {time}; check the timeline")
    if not 0 <= delay_ticks <= _MAX_OFFSET:
        raise MediaError(f"a reorder delay of {delay_ticks} ticks does not fit; use two frames")
    outer = list(iter_boxes(fragment))
    if [item.type for item in outer] != ["moof", "mdat"]:
        raise MediaError("a fragment is one moof and the mdat right behind it; take it from split_file")
    moof, mdat = outer
    traf = need(fragment, "traf", moof.payload, moof.end)
    tfdt = need(fragment, "tfdt", traf.payload, traf.end)
    new_tfdt = full_box("tfdt", 1, 0, struct.pack(">Q", time))
    samples_max = mdat.end - mdat.payload  # every sample has a byte
    truns = find_all(fragment, "trun", traf.payload, traf.end)
    runs = [_Run.read(fragment, trun, delay_ticks, samples_max) for trun in truns]
    # Data offsets count from the moof: they grow with it.
    growth = len(new_tfdt) - (tfdt.end - tfdt.start) + sum(run.growth for run in runs)
    replaced = {run.start: run.write(growth) for run in runs} | {tfdt.start: new_tfdt}
    moof_parts: list[bytes] = []
    for child in iter_boxes(fragment, moof.payload, moof.end):
        if child.type == "mfhd":
            moof_parts.append(full_box("mfhd", 0, 0, struct.pack(">I", sequence)))
        elif child.type == "traf":
            moof_parts.append(_retime_track(fragment, child.payload, child.end, replaced))
        else:
            moof_parts.append(fragment[child.start : child.end])
    return box("moof", *moof_parts) + fragment[mdat.start : mdat.end]


def _retime_track(data: bytes, start: int, end: int, replaced: Mapping[int, bytes]) -> bytes:
    """The traf whose children lie in [start, end), those that begin at a key of ``replaced`` exchanged."""
    parts: list[bytes] = []
    for child in iter_boxes(data, start, end):
        if child.type in _IMMOVABLE:
            raise MediaError(f"a fragment with a {child.type} box can not be moved; encode without encryption")
        if child.type == "tfhd" and Fields(data, child).version_flags()[1] & 1:
            raise MediaError("a fragment can not be moved: it has absolute offsets; encode with -movflags +cmaf")
        parts.append(replaced.get(child.start, data[child.start : child.end]))
    return box("traf", *parts)


class _Run(NamedTuple):
    """A trun on its way: at ``start`` of the old fragment, ``growth`` bytes longer when written."""

    start: int
    growth: int
    head: bytes  # version, flags, count of samples
    data_offset: int | None
    rest: bytes

    @classmethod
    def read(cls, data: bytes, at: Box, delay_ticks: int, samples_max: int) -> _Run:
        fields = Fields(data, at)
        head = fields.raw(8)
        version, flags, count = head[0], int.from_bytes(head[1:4], "big"), int.from_bytes(head[4:], "big")
        data_offset = fields.signed(4) if flags & DATA_OFFSET else None
        if not delay_ticks:
            return cls(at.start, 0, head, data_offset, data[fields.position : at.end])
        if count > samples_max:  # checked first so that a wild count costs nothing
            raise MediaError(f"damaged MP4: a run of {count} samples is larger than its mdat; produce the file again")
        rest = [fields.raw(4 if flags & FIRST_FLAGS else 0)]
        others = 4 * sum(bool(flags & flag) for flag in (DURATION, SIZE, FLAGS))
        for _ in range(count):
            rest.append(fields.raw(others))
            old = 0 if not flags & OFFSET else fields.signed(4) if version else fields.unsigned(4)
            if not 0 <= old + delay_ticks <= _MAX_OFFSET:
                raise MediaError(
                    f"a picture with composition offset {old} does not fit a reorder delay of {delay_ticks} ticks; "
                    "encode with at most two pictures of reordering (x264: b-pyramid normal)"
                )
            rest.append(struct.pack(">I", old + delay_ticks))
        if fields.position != at.end:
            raise MediaError("damaged MP4: a run is longer than its samples; produce the file again")
        head = struct.pack(">II", flags | OFFSET, count)  # version 0
        return cls(at.start, 0 if flags & OFFSET else 4 * count, head, data_offset, b"".join(rest))

    def write(self, moof_growth: int) -> bytes:
        if self.data_offset is None:
            return box("trun", self.head, self.rest)
        offset = self.data_offset + moof_growth
        if not -1 << 31 <= offset < 1 << 31:
            raise MediaError(f"damaged MP4: a data offset of {self.data_offset}; produce the file again")
        return box("trun", self.head, struct.pack(">i", offset), self.rest)
