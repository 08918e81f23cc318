"""The NAL units inside an H.264 sample (ISO/IEC 14496-15, 5.3.2; ITU-T H.264, table 7-1)."""

from __future__ import annotations

from collections.abc import Iterator

from streamwave.errors import MediaError
from streamwave.mp4.fragment import read_fragment
from streamwave.mp4.init import InitSummary

#: nal_unit_type of a slice of an IDR picture: no later picture refers to an earlier one.
IDR = 5


def split_nals(sample: bytes, length_bytes: int) -> Iterator[bytes]:
    """The NAL units in ``sample``, in which the length of each precedes it in ``length_bytes`` bytes.

    Raises:
        MediaError: they do not fill the sample exactly.
    """
    position = 0
    while position < len(sample):
        start = position + length_bytes
        position = start + int.from_bytes(sample[position:start], "big")
        if start >= position or position > len(sample):
            raise MediaError("damaged H.264: the NAL units do not fill their sample; encode the chunk again")
        yield sample[start:position]


def nal_types(sample: bytes, length_bytes: int) -> Iterator[int]:
    """nal_unit_type of each NAL unit in ``sample`` (see ``split_nals``)."""
    return (nal[0] & 0x1F for nal in split_nals(sample, length_bytes))


def starts_with_idr(fragment: bytes, init: InitSummary) -> bool:
    """Whether the first frame of the fragment is an IDR picture, judged by its slices rather than by MP4 flags.

    Raises:
        MediaError: ``init`` is not for H.264, or the fragment is damaged.
    """
    if not init.nal_length_bytes:
        raise MediaError(f"{init.codecs} has no NAL units; use a fragment of a video rendition")
    summary = read_fragment(fragment, init)
    start, size = summary.positions[0], summary.sizes[0]
    slices = [kind for kind in nal_types(fragment[start : start + size], init.nal_length_bytes) if 1 <= kind <= 5]
    return bool(slices) and all(kind == IDR for kind in slices)
