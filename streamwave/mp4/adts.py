"""ADTS, the framing of raw AAC in files (ISO/IEC 13818-7, 6.2; ISO/IEC 14496-3, 1.A.3)."""

from __future__ import annotations

from streamwave.errors import MediaError
from streamwave.mp4.asc import AAC_LC, channel_configuration, rate_index

_HEADER = 7  # bytes, without the optional checksum
_MAX_FRAME = (1 << 13) - 1  # aac_frame_length has 13 bits


def adts_frame(frame: bytes, sample_rate: int, channels: int) -> bytes:
    """An ADTS frame: a header without checksum, and ``frame`` (one raw AAC-LC frame).

    Raises:
        MediaError: the frame is empty or too long.
    """
    length = _HEADER + len(frame)
    if not frame or length > _MAX_FRAME:
        raise MediaError(f"an AAC frame of {len(frame)} bytes does not fit into ADTS; encode the audio again")
    header = 0xFFF << 44  # syncword
    header |= 1 << 40  # MPEG-4, layer 0, no checksum
    header |= (AAC_LC - 1) << 38 | rate_index(sample_rate) << 34 | channel_configuration(channels) << 30
    header |= length << 13
    header |= 0x7FF << 2  # buffer fullness: variable bit rate; one raw data block
    return header.to_bytes(_HEADER, "big") + frame


def read_adts(data: bytes) -> list[bytes]:
    """The raw AAC-LC frames in ``data``, in order; an empty list for no data.

    Raises:
        MediaError: ``data`` is not a sequence of complete ADTS frames of AAC-LC with one sample rate and channel count.
    """
    frames: list[bytes] = []
    position, stated = 0, -1
    while position < len(data):
        if len(data) - position < _HEADER:
            raise MediaError(f"truncated ADTS: {len(data) - position} stray bytes at {position}; record it again")
        header = int.from_bytes(data[position : position + _HEADER], "big")
        # 12 bits syncword, 1 bit MPEG version, 2 bits layer (0), 1 bit "no checksum"
        if header >> 44 != 0xFFF or header >> 41 & 3:
            raise MediaError(f"this is not ADTS: no frame starts at {position}; use a file of ADTS frames")
        if header >> 38 & 3 != AAC_LC - 1:
            raise MediaError(f"the AAC at {position} is not AAC-LC; encode the audio again")
        if header & 3:
            raise MediaError(f"the ADTS frame at {position} packs several AAC frames; encode the audio again")
        parameters = header >> 30 & 0xF7  # sample rate and channels, without the private bit between them
        if stated not in (-1, parameters):
            raise MediaError(f"the sample rate or channel count changes at {position}; encode the audio again")
        stated = parameters
        start = position + (_HEADER if header >> 40 & 1 else _HEADER + 2)
        end = position + (header >> 13 & _MAX_FRAME)
        if end <= start:
            raise MediaError(f"damaged ADTS: the frame at {position} is empty; record it again")
        if end > len(data):
            raise MediaError(f"truncated ADTS: the frame at {position} ends at {end} of {len(data)}; record it again")
        frames.append(data[start:end])
        position = end
    return frames
