"""CMAF for H.264: fragments of pictures that are there already (ISO/IEC 23000-19, 7.3.2.3; ISO/IEC 14496-12, 8.8)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from streamwave.errors import MediaError
from streamwave.mp4.boxes import box, full_box
from streamwave.mp4.fragment import DATA_OFFSET, DURATION, FLAGS, NON_SYNC, OFFSET, SIZE, FragmentSummary

_TRACK_ID = 1
#: sample_depends_on: 2 on no other sample, 1 on others (ISO/IEC 14496-12, 8.8.3.1).
_SYNC, _DEPENDENT = 0x02000000, 0x01000000 | NON_SYNC


class Sample(NamedTuple):
    """A picture in decoding order: its NAL units with their lengths, whether it is an IDR picture, and its ``place`` in the
    order in which the pictures of its fragment are shown, from 0."""

    data: bytes
    sync: bool
    place: int


def samples_of(fragment: bytes, found: FragmentSummary) -> list[Sample]:
    """The pictures of ``fragment``, of which ``found`` is the summary.

    Raises:
        MediaError: they are not shown one after the other, each for as long as the others.
    """
    ticks, rest = divmod(found.duration, found.sample_count)
    shown = [(at - found.time) / ticks if ticks else -1 for at in found.presentation_times]
    if rest or sorted(shown) != list(range(found.sample_count)):
        raise MediaError("the pictures of a fragment are not shown one after the other; produce the file again")
    return [
        Sample(fragment[at : at + size], sync, int(place))
        for at, size, sync, place in zip(found.positions, found.sizes, found.syncs, shown, strict=True)
    ]


def decode_ticks(places: Sequence[int], frame_ticks: int) -> list[int]:
    """When each of the pictures shown at ``places`` (in decoding order) is decoded, in ticks, and where the last one ends.

    No picture is decoded after it is shown, the first one when it is shown. So composition offsets need neither a sign nor
    an edit list that takes them back, of which some readers know the one and some the other
    (docs/decisions/0024-timelines.md). Each is decoded as late as it can be a whole picture before the next one; what
    would begin before the fragment follows its first picture a tick apart. No picture ends after its fragment, and the
    one that is shown last ends with it (to those ticks).

    Raises:
        MediaError: the places are not those of a fragment that begins with the picture that is shown first.
    """
    count, times = len(places), list[int]()
    latest = count
    for place in reversed(places):
        latest = min(latest - 1, place)
        times.append(latest * frame_ticks)
    times = [*(max(time, number) for number, time in enumerate(reversed(times))), count * frame_ticks]
    late = any(time > place * frame_ticks for time, place in zip(times, places, strict=False))
    if late or sorted(places) != list(range(count)) or any(a >= b for a, b in pairwise(times)):
        raise MediaError("a fragment of pictures begins with the one that is shown first; encode with closed GOPs")
    return times


def avc_fragment(*, sequence: int, time: int, frame_ticks: int, samples: Sequence[Sample]) -> bytes:
    """One moof + mdat with ``samples`` of ``frame_ticks`` each, shown from ``time`` (ticks) on.

    Raises:
        MediaError: there are none, or numbers do not fit.
    """
    if not samples or not all(sample.data for sample in samples):
        raise MediaError("a video fragment needs pictures, none of them empty; check the chunk")
    if not 0 < sequence < 1 << 32 or not 0 <= time < 1 << 64:
        raise MediaError(f"a fragment can not have sequence number {sequence} and time {time}; check the timeline")
    if len(samples) * frame_ticks >= 1 << 31:
        raise MediaError(f"a fragment can not have {len(samples)} pictures of {frame_ticks} ticks; check the timeline")
    decoded = decode_ticks([sample.place for sample in samples], frame_ticks)
    # default-base-is-moof, default duration.
    tfhd = full_box("tfhd", 0, 0x020008, struct.pack(">2I", _TRACK_ID, frame_ticks))
    # 64 bits, so that the size of a fragment does not depend on its time.
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
