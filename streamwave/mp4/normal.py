"""Normalise FFmpeg's video init segment, so that it depends only on the encoding and is byte-identical for all chunks."""

from __future__ import annotations

import struct
from collections.abc import Callable

from streamwave.errors import MediaError
from streamwave.mp4.boxes import Box, Fields, box, iter_boxes, need
from streamwave.mp4.init import VISUAL_ENTRY, read_init, sample_entry

# cmfc is the structural brand of CMAF (ISO/IEC 23000-19, 7.2); the stricter cmf2 requires signed composition offsets.
# iso6 covers tfdt and default-base-is-moof.
_FTYP = box("ftyp", b"cmfc", bytes(4), b"iso6cmfc")

# The encoder's name (udta, compressorname) and the mean bit rate (btrt) differ between hosts and chunks; mehd and edts
# describe a finished file; mdcv and clli describe the source's HDR. None of them affects decoding.
_DROPPED = frozenset({"udta", "meta", "mehd", "btrt", "edts", "free", "skip", "mdcv", "clli"})
_UPRIGHT = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
_CONTAINERS = frozenset({"moov", "trak", "mdia", "minf", "stbl", "mvex"})


def video_init(init: bytes) -> bytes:
    """Turn FFmpeg's init segment of one H.264 track into a CMAF header that is identical for all chunks of a rendition.

    Replaces the brands, zeroes creation times and durations, empties compressorname, and drops btrt, udta, mehd and an
    edit list without effect.

    Raises:
        MediaError: an edit list shifts the presentation (write the file with ``-movflags +cmaf``), or `read_init` refuses
            the segment.
    """
    summary = read_init(init)
    if not summary.nal_length_bytes:
        raise MediaError("this init segment is not for H.264 video; use aac_init for audio")
    if summary.edit_ticks:
        raise MediaError(
            f"an edit list shifts the presentation (media time {summary.edit_ticks}); encode with -movflags +cmaf"
        )
    return _FTYP + _rewrite(init, need(init, "moov"))


def _rewrite(data: bytes, at: Box) -> bytes:
    if at.type in _CONTAINERS:
        inner = []
        for child in iter_boxes(data, at.payload, at.end):
            if child.type not in _DROPPED:
                inner.append(_rewrite(data, child))
        return box(at.type, *inner)
    rule = _RULES.get(at.type)
    return rule(data, at) if rule else data[at.start : at.end]


def _track_header(data: bytes, at: Box) -> bytes:
    """tkhd without times and without the source's rotation (14496-12, 8.3.2), which has already been applied."""
    header = _without_times(data, at)
    size = header[-8:]  # width and height follow the matrix
    return header[: -len(_UPRIGHT) - 8] + _UPRIGHT + size


def _without_times(data: bytes, at: Box) -> bytes:
    """mvhd, tkhd or mdhd with zero creation time, modification time and duration; the fields between them are kept."""
    fields = Fields(data, at)
    head = fields.raw(4)
    wide = 8 if head[0] else 4
    fields.raw(2 * wide)
    between = fields.raw(8 if at.type == "tkhd" else 4)
    fields.raw(wide)
    rest = data[fields.position : at.end]
    return box(at.type, head, bytes(2 * wide), between, bytes(wide), rest)


def _sample_description(data: bytes, at: Box) -> bytes:
    entry = sample_entry(data)
    fixed = Fields(data, entry).raw(VISUAL_ENTRY)
    fixed = fixed[:42] + bytes(32) + fixed[74:]  # compressorname
    inner = (data[c.start : c.end] for c in iter_boxes(data, entry.payload + VISUAL_ENTRY, entry.end)
             if c.type not in _DROPPED)  # fmt: skip
    return box("stsd", data[at.payload : at.payload + 8], box(entry.type, fixed, *inner))


_RULES: dict[str, Callable[[bytes, Box], bytes]] = {
    "mvhd": _without_times,
    "tkhd": _track_header,
    "mdhd": _without_times,
    "stsd": _sample_description,
}
