"""CMAF for H.264: fragments of pictures that are there already (ISO/IEC 23000-19, 7.3.2.3; ISO/IEC 14496-12, 8.8)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from streamwave.errors import MediaError
from streamwave.mp4.boxes import box, full_box
from streamwave.mp4.fragment import DATA_OFFSET, FLAGS, NON_SYNC, OFFSET, SIZE

_TRACK_ID = 1
#: sample_depends_on: 2 on no other sample, 1 on others (ISO/IEC 14496-12, 8.8.3.1).
_SYNC, _DEPENDENT = 0x02000000, 0x01000000 | NON_SYNC


class Sample(NamedTuple):
    """A picture in decoding order: its NAL units with their lengths, whether it is an IDR picture, and how many pictures
    later than decoded it is shown (negative: earlier; ``retime`` adds the delay that makes it none)."""

    data: bytes
    sync: bool
    later: int


def avc_fragment(*, time: int, duration: int, samples: Sequence[Sample]) -> bytes:
    """One moof + mdat with ``samples`` of ``duration`` ticks each, decoded from ``time`` (ticks) on.

    Raises:
        MediaError: there are none.
    """
    if not samples or not all(sample.data for sample in samples):
        raise MediaError("a video fragment needs pictures, none of them empty; check the chunk")
    # default-base-is-moof, default duration.
    tfhd = full_box("tfhd", 0, 0x020008, struct.pack(">2I", _TRACK_ID, duration))
    tfdt = full_box("tfdt", 1, 0, struct.pack(">Q", time))
    mfhd = full_box("mfhd", 0, 0, struct.pack(">I", 1))
    rows = b"".join(
        struct.pack(">IIi", len(one.data), _SYNC if one.sync else _DEPENDENT, one.later * duration) for one in samples
    )
    mdat = box("mdat", *(one.data for one in samples))

    def moof(data_offset: int) -> bytes:
        head = struct.pack(">Ii", len(samples), data_offset)
        trun = full_box("trun", 1, DATA_OFFSET | SIZE | FLAGS | OFFSET, head, rows)
        return box("moof", mfhd, box("traf", tfhd, tfdt, trun))

    return moof(len(moof(0)) + 8) + mdat
