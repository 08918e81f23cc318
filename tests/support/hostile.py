"""Malicious media files: with false sizes, counts and references."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.support.media import ffmpeg

_START = b"\0\0\0\1"


def _bits(*fields: tuple[int, int] | int) -> bytes:
    """Encode fields of a NAL unit's payload: (value, bits), or a number for ue(v); adds the stop bit."""
    text = ""
    for field in fields:
        if isinstance(field, tuple):
            text += f"{field[0]:0{field[1]}b}"
        else:
            code = f"{field + 1:b}"
            text += "0" * (len(code) - 1) + code
    text += "1"
    text += "0" * (-len(text) % 8)
    raw = int(text, 2).to_bytes(len(text) // 8, "big")
    out = bytearray()
    for byte in raw:  # emulation prevention
        if out[-2:] == b"\0\0" and byte <= 3:
            out.append(3)
        out.append(byte)
    return bytes(out)


def sps(width: int, height: int) -> bytes:
    """A sequence parameter set of H.264 Baseline with this frame size (ITU-T H.264, 7.3.2.1.1)."""
    return b"\x67" + _bits(
        (66, 8), (0xC0, 8), (62, 8), 0, 0, 2, 1, (0, 1), width // 16 - 1, height // 16 - 1, (1, 1), (1, 1), (0, 1), (0, 1)
    )  # fmt: skip


def hevc_sps(width: int, height: int, sub_layers: int = 0) -> bytes:
    """The beginning of an HEVC sequence parameter set, up to the frame size (ITU-T H.265, 7.3.2.2)."""
    levels = [(0, 2)] * sub_layers + ([(0, 2 * (8 - sub_layers))] if sub_layers else [])
    return b"\x42\x01" + _bits((0, 4), (sub_layers, 3), (1, 1), (1, 96), *levels, 0, 1, width, height, (0, 1))


def large_h264(path: Path, width: int = 16384, height: int = 8640, *, after: int = 0) -> Path:
    """H.264 whose parameter sets state ``width`` by ``height``; those of the first ``after`` GOPs of ten frames are correct."""
    clip = path.with_name(f"{path.stem}.clip.h264")
    x264 = ("-c:v", "libx264", "-profile:v", "baseline", "-g", "10", "-x264-params", "repeat-headers=1:scenecut=0")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:r=10:d=6", *x264, "-f", "h264", str(clip))
    units = clip.read_bytes().replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]
    seen, out = 0, []
    for unit in units:
        if unit[0] & 31 == 7:
            seen += 1
            out.append(_START + (unit if seen <= after else sps(width, height)))
        else:
            out.append(_START + unit)
    clip.unlink()
    path.write_bytes(b"".join(out))
    return path


def box(kind: bytes, *content: bytes) -> bytes:
    """An MP4 box."""
    data = b"".join(content)
    return struct.pack(">I", 8 + len(data)) + kind + data


def full(kind: bytes, flags: int, *content: bytes) -> bytes:
    """An MP4 full box with version 0 and flags."""
    return box(kind, flags.to_bytes(4, "big"), *content)


_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def _track(number: int, samples: int, size: tuple[int, int], reference: bytes) -> bytes:
    width, height = size
    entry = box(
        b"jpeg", bytes(6), struct.pack(">H", 1), bytes(16), struct.pack(">HH", width, height), bytes(14),
        struct.pack(">H", 1), bytes(32), struct.pack(">Hh", 24, -1),
    )  # fmt: skip
    table = box(
        b"stbl",
        full(b"stsd", 0, struct.pack(">I", 1), entry),
        full(b"stts", 0, struct.pack(">III", 1, samples, 40)),
        full(b"stsc", 0, struct.pack(">IIII", 1, 1, samples, 1)),
        full(b"stsz", 0, struct.pack(">II", 1, samples)),
        full(b"stco", 0, struct.pack(">II", 1, 48)),
    )
    information = box(
        b"minf", full(b"vmhd", 1, bytes(8)), box(b"dinf", full(b"dref", 0, struct.pack(">I", 1), reference)), table
    )
    media = box(
        b"mdia",
        full(b"mdhd", 0, struct.pack(">IIIIHH", 0, 0, 1000, samples, 0x55C4, 0)),
        full(b"hdlr", 0, bytes(4), b"vide", bytes(12), b"v\0"),
        information,
    )
    header = full(
        b"tkhd", 3, struct.pack(">IIIII", 0, 0, number, 0, samples), bytes(16), _MATRIX,
        struct.pack(">II", width << 16, height << 16),
    )  # fmt: skip
    return box(b"trak", header, media)


def mp4(
    path: Path, *, samples: int = 25, size: tuple[int, int] = (640, 360), tracks: int = 1, reference: bytes = b"",
    media: int = 4096,
) -> Path:  # fmt: skip
    """An MP4 file whose index claims ``samples`` of one byte each, but which has only ``media`` bytes of media data.

    ``reference``: a data reference box to another file; by default the media data is in the file itself.
    """
    header = full(
        b"mvhd", 0, struct.pack(">IIIIIH", 0, 0, 1000, samples, 0x10000, 0x100), bytes(10), _MATRIX, bytes(24),
        struct.pack(">I", tracks + 1),
    )  # fmt: skip
    inside = reference or full(b"url ", 1)
    found = b"".join(_track(number, samples, size, inside) for number in range(1, tracks + 1))
    with path.open("wb") as file:
        file.write(box(b"ftyp", b"isom", bytes(4), b"isom") + box(b"moov", header, found))
        file.write(struct.pack(">I", media + 8) + b"mdat")
        file.truncate(file.tell() + media)
    return path


def alias(path: Path) -> bytes:
    """A QuickTime data reference to another file: a Macintosh alias (QuickTime File Format, data reference atoms)."""
    name = path.name.encode()[:63]
    place = str(path).encode()
    record = (
        bytes(4) + struct.pack(">HHH", 150, 2, 0) + b"\x04disk" + bytes(23) + bytes(4) + b"H+" + bytes(2) + bytes(4)
    )
    record += bytes([len(name)]) + name + bytes(63 - len(name)) + bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    record += struct.pack(">hH", 2, len(place)) + place + bytes(len(place) % 2)
    record += struct.pack(">hH", 18, len(place)) + place + bytes(len(place) % 2) + struct.pack(">hH", -1, 0)
    return full(b"alis", 0, record)
