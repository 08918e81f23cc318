"""NAL units of H.264 and HEVC packets."""

from __future__ import annotations

from collections.abc import Iterator

#: ITU-T H.264, table 7-1 and D.1.
_H264_IDR, _H264_SEI, _RECOVERY_POINT = 5, 6, 6

#: Half-open range of the types of NAL units that accompany slices: table 7-1 of H.264, and of H.265.
_BESIDE = {"h264": (6, 13), "hevc": (32, 41)}


def nal_type(nal: bytes, codec: str) -> int:
    """Type of a NAL unit (ITU-T H.264, 7.3.1; H.265, 7.3.1.2)."""
    return nal[0] & 0x1F if codec == "h264" else nal[0] >> 1 & 0x3F


def nals(data: bytes, extradata: bytes | None) -> Iterator[bytes]:
    """The NAL units of a packet: with length fields (ISO/IEC 14496-15) if ``extradata`` is a configuration record."""
    if extradata and extradata[0] == 1:
        at = 0
        while at + 4 <= len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            if size == 0 or at + 4 + size > len(data):
                return
            yield data[at + 4 : at + 4 + size]
            at += 4 + size
        return
    at = data.find(b"\x00\x00\x01")
    while at >= 0:
        after = data.find(b"\x00\x00\x01", at + 3)
        nal = data[at + 3 : after if after >= 0 else len(data)].rstrip(b"\x00")
        if nal:
            yield nal
        at = after


def holds_no_picture(data: bytes, codec: str, extradata: bytes | None) -> bool:
    """Whether a packet holds only parameter sets, SEI and the like.

    A damaged packet counts as a picture; the decoder finds out whether it is one.
    """
    least, after = _BESIDE[codec]
    units = list(nals(data, extradata))
    if not units or not all(least <= nal_type(nal, codec) < after for nal in units):
        return False
    return not (extradata and extradata[0] == 1) or sum(4 + len(nal) for nal in units) == len(data)


def refreshes_gradually(data: bytes, extradata: bytes | None) -> bool:
    """Whether an H.264 picture is the start of a refresh over several pictures (recovery_frame_cnt > 0, D.2.8)."""
    found = False
    for nal in nals(data, extradata):
        kind = nal_type(nal, "h264")
        if kind == _H264_IDR:
            return False
        if kind == _H264_SEI:
            # recovery_frame_cnt comes first, as ue(v): a leading 1 bit means zero.
            found = found or any(message and not message[0] & 0x80 for message in _recovery_points(nal[1:]))
    return found


def _recovery_points(payloads: bytes) -> Iterator[bytes]:
    """The recovery point messages of an SEI NAL unit (7.3.2.3.1)."""
    at = 0
    while at + 2 < len(payloads):
        numbers = []
        for _ in ("type", "size"):
            number = 0
            while at < len(payloads) and payloads[at] == 0xFF:
                number, at = number + 255, at + 1
            if at >= len(payloads):
                return
            numbers.append(number + payloads[at])
            at += 1
        if numbers[0] == _RECOVERY_POINT:
            yield payloads[at : at + numbers[1]]
        at += numbers[1]
