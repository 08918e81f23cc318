"""What an MP4 file says of itself in its boxes' headers, read before libavformat believes it (ISO/IEC 14496-12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

#: Boxes that hold those with the number of a track's samples (8.2.1, 8.3.1, 8.4.1, 8.4.4, 8.5.1).
_AROUND = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})
#: Boxes that are looked at; a file with more is damaged, or made to take time.
_MOST_BOXES = 20_000
#: Samples that are not worth a question.
_FEW = 1_000_000
_SIZES = frozenset({b"stsz", b"stz2"})


class Seekable(Protocol):
    """A file object."""

    def read(self, size: int) -> bytes:
        """The next bytes."""

    def seek(self, offset: int) -> int:
        """Go to a place."""

    def size(self) -> int:
        """Length in bytes."""


def is_fragmented(file: Seekable) -> bool:
    """Whether the first media of a file belongs to a fragment (8.8.4)."""
    return next((kind for kind, _, _ in _boxes(file, 0, file.size()) if kind in (b"moof", b"mdat")), b"") == b"moof"


def check_counts(file: Seekable) -> int | None:
    """A number of samples that the file lists for a track (8.7.3) and cannot hold, as each has a byte at least; else None.

    For each sample libavformat takes some 40 bytes of memory, although a single number may list all of them.
    """
    size = file.size()
    file.seek(0)
    if file.read(8)[4:] not in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"):
        return None
    for seen, (kind, at, _) in enumerate(_within(file, 0, size)):
        if kind in _SIZES:
            file.seek(at + 8)
            count = int.from_bytes(file.read(4), "big")
            if count > max(size, _FEW):
                return count
        if seen > _MOST_BOXES:
            break
    return None


def _within(file: Seekable, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Boxes in ``[at, end)`` and in those that hold samples' numbers: kind, where its content begins, where it ends."""
    for kind, start, after in _boxes(file, at, end):
        yield kind, start, after
        if kind in _AROUND:
            yield from _within(file, start, after)


def _boxes(file: Seekable, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while at + 8 <= end:
        file.seek(at)
        header = file.read(16)
        size, kind, start = int.from_bytes(header[:4], "big"), header[4:8], at + 8
        if size == 1:
            size, start = int.from_bytes(header[8:], "big"), at + 16
        after = min(at + size, end) if size else end
        if after < start:
            return
        yield kind, start, after
        at = after
