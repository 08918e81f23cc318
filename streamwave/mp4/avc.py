"""CMAF for H.264: build fragments from encoded frames (ISO/IEC 23000-19, 7.3.2.3; ISO/IEC 14496-12, 8.8)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from streamwave.errors import MediaError
from streamwave.mp4.boxes import box, full_box
from streamwave.mp4.fragment import DATA_OFFSET, DURATION, FLAGS, NON_SYNC, OFFSET, SIZE, FragmentSummary

_TRACK_ID = 1
#: sample_depends_on: 2 is independent, 1 depends on others (ISO/IEC 14496-12, 8.8.3.1).
_SYNC, _DEPENDENT = 0x02000000, 0x01000000 | NON_SYNC


class Sample(NamedTuple):
    """A frame: its NAL units with their lengths, whether it is an IDR picture, and its ``place`` in presentation order
    within the fragment, from 0. Samples are listed in decoding order."""

    data: bytes
    sync: bool
    place: int


def samples_of(fragment: bytes, found: FragmentSummary) -> list[Sample]:
    """The frames of ``fragment``, whose summary is ``found``.

    Raises:
        MediaError: the frames are not contiguous in presentation order, or differ in duration.
    """
    ticks, rest = divmod(found.duration, found.sample_count)
    shown = [(at - found.time) / ticks if ticks else -1 for at in found.presentation_times]
    if rest or sorted(shown) != list(range(found.sample_count)):
        raise MediaError("the frames of a fragment do not follow each other without gaps; re-create the file")
    return [
        Sample(fragment[at : at + size], sync, int(place))
        for at, size, sync, place in zip(found.positions, found.sizes, found.syncs, shown, strict=True)
    ]


def decode_ticks(places: Sequence[int], frame_ticks: int) -> list[int]:
    """Decode times in ticks of frames presented at ``places`` (in decoding order), followed by the end of the last one.

    No frame is decoded after its presentation time, and the first one is decoded exactly at that time. So composition offsets
    are never negative, and no edit list has to compensate for them; some readers do not support the one, some the other
    (docs/decisions/0024-timelines.md). Each frame is decoded as late as possible, one frame duration before the next;
    frames that would then precede the fragment follow its first frame at intervals of one tick. No frame ends after its
    fragment, and the last one in presentation order ends with it, give or take those ticks.

    Raises:
        MediaError: the frame decoded first is not the one presented first.
    """
    count, times = len(places), list[int]()
    latest = count
    for place in reversed(places):
        latest = min(latest - 1, place)
        times.append(latest * frame_ticks)
    times = [*(max(time, number) for number, time in enumerate(reversed(times))), count * frame_ticks]
    late = any(time > place * frame_ticks for time, place in zip(times, places, strict=False))
    if late or sorted(places) != list(range(count)) or any(a >= b for a, b in pairwise(times)):
        raise MediaError("the first frame of a fragment must also be presented first; encode with closed GOPs")
    return times


def avc_fragment(*, sequence: int, time: int, frame_ticks: int, samples: Sequence[Sample]) -> bytes:
    """One moof + mdat with ``samples``, each lasting ``frame_ticks``, presented from ``time`` (ticks) on.

    Raises:
        MediaError: there are no samples or an empty one, or a number is out of range.
    """
    if not samples or not all(sample.data for sample in samples):
        raise MediaError("a video fragment needs at least one frame, and none may be empty; check the chunk")
    if not 0 < sequence < 1 << 32 or not 0 <= time < 1 << 64:
        raise MediaError(f"a fragment cannot have sequence number {sequence} and time {time}; check the timeline")
    if len(samples) * frame_ticks >= 1 << 31:
        raise MediaError(f"a fragment cannot have {len(samples)} frames of {frame_ticks} ticks; check the timeline")
    decoded = decode_ticks([sample.place for sample in samples], frame_ticks)
    # default-base-is-moof, default duration.
    tfhd = full_box("tfhd", 0, 0x020008, struct.pack(">2I", _TRACK_ID, frame_ticks))
    # Always 64 bits, so that the size of a fragment does not depend on its time.
    tfdt = full_box("tfdt", 1, 0, struct.pack(">Q", time))
    mfhd = full_box("mfhd", 0, 0, struct.pack(">I", sequence))
    reordered = any(sample.place != number for number, sample in enumerate(samples))
    flags = DATA_OFFSET | SIZE | FLAGS | (DURATION | OFFSET if reordered else 0)
    rows = list[bytes]()
    for sample, (at, after) in zip(samples, pairwise(decoded), strict=True):
        row = struct.pack(">2I", len(sample.data), _SYNC if sample.sync else _DEPENDENT)
        if reordered:
            row = struct.pack(">I", after - at) + row + struct.pack(">I", sample.place * frame_ticks - at)
        rows.append(row)
    mdat = box("mdat", *(one.data for one in samples))

    def moof(data_offset: int) -> bytes:
        trun = full_box("trun", 0, flags, struct.pack(">Ii", len(samples), data_offset), *rows)
        return box("moof", mfhd, box("traf", tfhd, tfdt, trun))

    return moof(len(moof(0)) + 8) + mdat
