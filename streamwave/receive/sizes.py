"""The size of pictures as stated in sequence parameter sets, read before anything is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from streamwave.errors import MediaError
from streamwave.mp4.sps import hevc_size, read_sps
from streamwave.receive.nals import nal_type, nals

#: NAL units that hold a sequence parameter set: ITU-T H.264 table 7-1, H.265 table 7-1.
SPS = {"h264": 7, "hevc": 33}
#: Bytes of a parameter set that are read; a valid one is much shorter.
_MOST_BYTES = 512


def stated_size(
    codec: str, data: bytes, extradata: bytes | None, record: bytes | None = None
) -> tuple[int, int] | None:
    """Width and height of the largest pictures that a packet states, in pixels; None if it states none.

    ``record`` is a configuration record that comes with the packet. Only H.264 and HEVC have such parameter sets.
    """
    if codec not in SPS:
        return None
    found = []
    for nal in [*nals(data, extradata), *_of_record(codec, record or b"")]:
        if nal_type(nal, codec) == SPS[codec]:
            with suppress(MediaError):
                found.append(_size(codec, nal[:_MOST_BYTES]))
    return max(found, key=lambda size: size[0] * size[1], default=None)


def _size(codec: str, nal: bytes) -> tuple[int, int]:
    if codec == "hevc":
        return hevc_size(nal)
    sps = read_sps(nal)
    return sps.width_px, sps.height_px


def _of_record(codec: str, record: bytes) -> Iterator[bytes]:
    """The NAL units of a configuration record (ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1), up to the first that is damaged."""
    if record[:1] != b"\x01":
        yield from nals(record, None)
        return
    at, arrays = (23, record[22] if len(record) > 22 else 0) if codec == "hevc" else (4, 1)
    for _ in range(arrays):
        at += 1  # skips the type of the array's units; in H.264, the size of their length fields
        counted = 2 if codec == "hevc" else 1
        count = int.from_bytes(record[at : at + counted], "big") & (0xFFFF if codec == "hevc" else 0x1F)
        at += counted
        for _ in range(count):
            size = int.from_bytes(record[at : at + 2], "big")
            if not size or at + 2 + size > len(record):
                return
            yield record[at + 2 : at + 2 + size]
            at += 2 + size
