"""Encrypted media files: encrypted by FFmpeg (cenc), or with headers that say so and scrambled samples."""

from __future__ import annotations

from pathlib import Path

import av

from streamwave.mp4.boxes import box, full_box, iter_boxes
from tests.support.media import ffmpeg

KEY, KID = "76a6c65c5ea762046bd749a2e632ccbb", bytes.fromhex("a7e61c373e219033c21091fa607bf3b8")
_BY_FFMPEG = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", KEY, "-encryption_kid", KID.hex())
PICTURES = ("-f", "lavfi", "-i", "testsrc2=s=192x108:r=25:d=2")
FRAGMENTED = ("-movflags", "frag_keyframe+empty_moov+default_base_moof")
_CODECS = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-shortest")
_AROUND = frozenset({"moov", "trak", "mdia", "minf", "stbl"})
_ENTRIES = {"avc1": "encv", "mp4a": "enca"}


def tone(hz: int) -> tuple[str, ...]:
    """FFmpeg arguments for two seconds of audio."""
    return ("-f", "lavfi", "-i", f"sine=f={hz}:d=2")


def clear(path: Path, *options: str, video: bool = True, tones: tuple[int, ...] = (500,)) -> Path:
    """An unencrypted file of two seconds, with an audio track for each of ``tones``."""
    inputs = [*(PICTURES if video else ()), *(part for hz in tones for part in tone(hz))]
    maps = [part for number in range(video + len(tones)) for part in ("-map", str(number))]
    ffmpeg(*inputs, *maps, *_CODECS, *options, str(path))
    return path


def by_ffmpeg(path: Path, *options: str, video: bool = True) -> Path:
    """An MP4 file all of whose tracks are encrypted (cenc)."""
    return clear(path, *_BY_FFMPEG, *options, video=video)


def scramble(path: Path, *streams: int) -> None:
    """Replace the samples of some tracks by noise, as they appear without the key."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [
            (packet.pos or 0, packet.size)
            for packet in container.demux()
            if packet.size and packet.stream_index in streams
        ]
    for at, size in places:
        data[at + 8 : at + size] = bytes(byte ^ (n * 151 + 89) & 255 for n, byte in enumerate(data[at + 8 : at + size]))
    path.write_bytes(data)


def mp4(path: Path, scheme: bytes, *streams: int) -> Path:
    """Mark some tracks of an MP4 file as encrypted, and scramble them. The file is fragmented or has its index at the end."""
    scramble(path, *streams)
    data, track = path.read_bytes(), -1

    def rebuilt(start: int, end: int) -> bytes:
        nonlocal track
        out = b""
        for one in iter_boxes(data, start, end):
            track += one.type == "trak"
            if one.type in _AROUND:
                out += box(one.type, rebuilt(one.payload, one.end))
            elif one.type == "stsd" and track in streams:
                (entry,) = iter_boxes(data, one.payload + 8, one.end)
                kind = _ENTRIES[entry.type]
                out += full_box(
                    "stsd", 0, 0, (1).to_bytes(4, "big"), box(kind, data[entry.payload : entry.end], sinf(entry.type))
                )
            else:
                out += data[one.start : one.end]
        return out

    def sinf(of: str) -> bytes:
        tenc = full_box("tenc", 0, 0, b"\0\0\1\x08", KID)
        return box("sinf", box("frma", of.encode()), full_box("schm", 0, 0, scheme, b"\0\1\0\0"), box("schi", tenc))

    path.write_bytes(rebuilt(0, len(data)))
    return path


def _ebml(code: str, *content: bytes) -> bytes:
    whole = b"".join(content)
    return bytes.fromhex(code) + (len(whole) | 1 << 56).to_bytes(8, "big") + whole


def _parts(data: bytes) -> list[tuple[str, bytes]]:
    """The elements of ``data``: ID in hexadecimal digits, and content."""
    found, at = [], 0

    def number() -> bytes:
        nonlocal at
        length = 9 - data[at].bit_length()
        at += length
        return data[at - length : at]

    while at < len(data):
        code, size = number(), number()
        end = at + (int.from_bytes(size, "big") & ((1 << 7 * len(size)) - 1))
        found.append((code.hex(), data[at:end]))
        at = end
    return found


def matroska(path: Path, *streams: int, key_id: bool = True) -> Path:
    """Mark some tracks of a Matroska or WebM file as encrypted in their headers, and scramble them."""
    scramble(path, *streams)
    encryption = _ebml("5035", _ebml("47E1", b"\5"), _ebml("47E2", KID) if key_id else b"")
    # ContentEncodingOrder, ContentEncodingScope (all frame contents), ContentEncodingType (encryption).
    how = (_ebml("5031", b"\0"), _ebml("5032", b"\1"), _ebml("5033", b"\1"))
    encodings = _ebml("6D80", _ebml("6240", *how, encryption))

    def entries(content: bytes) -> bytes:
        tracks = [part for part in _parts(content) if part[0] == "ae"]
        return b"".join(_ebml("AE", one, encodings if n in streams else b"") for n, (_, one) in enumerate(tracks))

    def segment(content: bytes) -> bytes:
        # Drop the elements that hold positions (SeekHead, Cues) or checksums (CRC-32).
        kept = [part for part in _parts(content) if part[0] not in ("114d9b74", "1c53bb6b", "ec")]
        return b"".join(_ebml(code, entries(one) if code == "1654ae6b" else one) for code, one in kept)

    whole = _parts(path.read_bytes())
    path.write_bytes(b"".join(_ebml(code, segment(one) if code == "18538067" else one) for code, one in whole))
    return path
