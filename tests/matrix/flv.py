"""Splits FLV files into tags and rewrites them: other timestamps, other orders, damage, several files in one.

RTMP carries the same tags, so these are things that a publisher can send.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

SOUND, PICTURE, SCRIPT = 8, 9, 18
FILE_HEADER = b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00"


@dataclass(frozen=True)
class Tag:
    """One tag: its kind, its 32-bit decoding time in milliseconds, its body."""

    kind: int
    ms: int
    body: bytes

    @property
    def header(self) -> bool:
        """Whether it is a sequence header, with the decoder configuration instead of media."""
        return self.kind == SCRIPT or (self.kind == PICTURE or self.body[0] >> 4 == 10) and self.body[1] == 0

    @property
    def key(self) -> bool:
        """Whether it holds a keyframe."""
        return self.kind == PICTURE and self.body[0] >> 4 == 1 and not self.header


def read_tags(path: Path) -> list[Tag]:
    """All tags of a file, except AVC end of sequence."""
    data, at, found = path.read_bytes(), len(FILE_HEADER), []
    while at + 11 <= len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        ms = int.from_bytes(data[at + 4 : at + 7], "big") | data[at + 7] << 24
        tag = Tag(data[at], ms, data[at + 11 : at + 11 + size])
        if not (tag.kind == PICTURE and tag.body[1] == 2):
            found.append(tag)
        at += 11 + size + 4
    return found


def write_tags(path: Path, tags: Iterable[Tag]) -> None:
    """Write a file of ``tags``; times are truncated to 32 bits."""
    path.write_bytes(FILE_HEADER + b"".join(map(tag_bytes, tags)))


def tag_bytes(tag: Tag) -> bytes:
    """A tag as stored in a file, followed by its size."""
    ms = tag.ms % 2**32
    head = bytes([tag.kind]) + len(tag.body).to_bytes(3, "big") + (ms & 0xFFFFFF).to_bytes(3, "big")
    head += bytes([ms >> 24]) + bytes(3)
    return head + tag.body + (len(head) + len(tag.body)).to_bytes(4, "big")


def retimed(change: Callable[[Tag], int | None]) -> Callable[[Path, Path], None]:
    """A rework that gives every tag the time returned by ``change``, and drops tags for which that is None."""

    def rework(source: Path, target: Path) -> None:
        moved = [(tag, change(tag)) for tag in read_tags(source)]
        write_tags(target, [replace(tag, ms=ms) for tag, ms in moved if ms is not None])

    return rework


def pictures_from(tags: Iterable[Tag], ms: int, *, announced: bool = True) -> list[Tag]:
    """``tags`` without the video before the first keyframe from ``ms`` on; the sequence header is moved there.

    If not ``announced``, the metadata does not mention video either.
    """
    found = list(tags)
    first = next(tag.ms for tag in found if tag.key and tag.ms >= ms)
    found = [tag for tag in found if tag.kind != PICTURE or tag.header or tag.ms >= first]
    found = [replace(tag, ms=first) if tag.kind == PICTURE and tag.header else tag for tag in found]
    if not announced:
        names = (b"videocodecid", b"videodatarate", b"framerate", b"width", b"height")
        found = [replace(tag, body=_untold(tag.body, names)) if tag.kind == SCRIPT else tag for tag in found]
    return sorted(found, key=lambda tag: (tag.ms, not tag.header, tag.kind != PICTURE))


def unannounced(tags: Iterable[Tag]) -> list[Tag]:
    """``tags`` in which nothing announces the audio: not the metadata, and its sequence header comes when it begins."""
    found = list(tags)
    first = next(tag.ms for tag in found if tag.kind == SOUND and not tag.header)
    found = [replace(tag, ms=first) if tag.kind == SOUND and tag.header else tag for tag in found]
    found = [replace(tag, body=_untold(tag.body, _OF_SOUND)) if tag.kind == SCRIPT else tag for tag in found]
    return sorted(found, key=lambda tag: (tag.ms, tag.kind != PICTURE, not tag.header))


_OF_SOUND = (b"audiocodecid", b"audiodatarate", b"audiosamplerate", b"audiosamplesize")


def _untold(metadata: bytes, names: tuple[bytes, ...]) -> bytes:
    for name in names:
        size = struct.pack(">H", len(name))
        metadata = metadata.replace(size + name, size + b"x" * len(name))
    return metadata


def damaged(first: int, after: int) -> Callable[[Path, Path], None]:
    """A rework that replaces the frames ``first`` to ``after`` (exclusive, in decoding order) by noise."""

    def rework(source: Path, target: Path) -> None:
        noise, number, found = random.Random(1), 0, []
        for tag in read_tags(source):
            if tag.kind == PICTURE and not tag.header:
                if first <= number < after:
                    tag = replace(tag, body=tag.body[:5] + noise.randbytes(len(tag.body) - 5))
                number += 1
            found.append(tag)
        write_tags(target, found)

    return rework
