"""Read what an MP4 file's boxes claim, before libavformat acts on it (ISO/IEC 14496-12)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Protocol

#: Boxes on the path to a track's sample tables (8.2.1, 8.3.1, 8.4.1, 8.4.4).
_AROUND = frozenset({b"moov", b"trak", b"mdia", b"minf"})
#: Maximum number of boxes that are read; a file with more is damaged, or made to waste time.
_MAX_BOXES = 20_000
#: Sample entries of encrypted tracks: Common Encryption (ISO/IEC 23001-7, 4.1), FairPlay, Audible.
_ENCRYPTED = frozenset({b"encv", b"enca", b"drmi", b"drms", b"aavd"})
_FIRST = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp")


class Seekable(Protocol):
    """A seekable file object."""

    def read(self, size: int) -> bytes:
        """The next bytes."""

    def seek(self, offset: int) -> int:
        """Seek to an offset from the beginning."""

    def size(self) -> int:
        """Size in bytes."""


def is_fragmented(file: Seekable) -> bool:
    """Whether the first media data of a file belongs to a fragment (8.8.4)."""
    return next((kind for kind, _, _ in _boxes(file, 0, file.size()) if kind in (b"moof", b"mdat")), b"") == b"moof"


def index_of(file: Seekable, most_bytes: int, most_boxes: int) -> bytes:
    """The content of moov (8.2.1); empty if it is larger than ``most_bytes``, or preceded by ``most_boxes`` boxes."""
    for kind, start, end in islice(_boxes(file, 0, file.size()), most_boxes):
        if kind == b"moov":
            file.seek(start)
            found = b""
            while len(found) < end - start <= most_bytes and (more := file.read(end - start - len(found))):
                found += more
            return found
    return b""


def sample_counts(file: Seekable) -> list[tuple[int, bool]]:
    """The number of samples in each track's index (8.7.3), and whether each sample is a single PCM sample.

    The file states the number in four bytes, and libavformat allocates about 40 bytes per sample for it, except for PCM.
    """
    file.seek(0)
    if file.read(8)[4:] not in _FIRST:
        return []
    found = []
    for number, (kind, start, end) in enumerate(_within(file, 0, file.size())):
        if kind == b"stbl":
            found.append(_counted(file, start, end))
        if number > _MAX_BOXES:
            break
    return found


def encrypted_track_ids(file: Seekable) -> frozenset[int]:
    """Ids of the tracks with encrypted samples (8.3.2, 8.5.2)."""
    file.seek(0)
    if file.read(8)[4:] not in _FIRST:
        return frozenset()
    found, track = set(), 0
    for number, (kind, start, end) in enumerate(_within(file, 0, file.size())):
        if kind == b"tkhd":
            file.seek(start)
            header = file.read(24)
            track = int.from_bytes(header[20:24] if header[:1] == b"\1" else header[12:16], "big")
        elif kind == b"stbl" and _ENCRYPTED & set(islice(_entries(file, start, end), _MAX_BOXES)):
            found.add(track)
        if number > _MAX_BOXES:
            break
    return frozenset(found)


def _entries(file: Seekable, start: int, end: int) -> Iterator[bytes]:
    for kind, at, after in islice(_boxes(file, start, end), _MAX_BOXES):
        if kind == b"stsd":
            yield from (entry for entry, _, _ in _boxes(file, at + 8, after))


def _counted(file: Seekable, start: int, end: int) -> tuple[int, bool]:
    count, pcm = 0, False
    for number, (kind, at, _) in enumerate(_boxes(file, start, end)):
        if kind in (b"stsz", b"stz2"):
            file.seek(at + 8)
            count = max(count, int.from_bytes(file.read(4), "big"))
        elif kind == b"stts":  # PCM has a single entry, with one tick per sample (8.6.1.2)
            file.seek(at + 4)
            times = file.read(12)
            pcm = (times[:4], times[8:]) == ((1).to_bytes(4, "big"), (1).to_bytes(4, "big"))
        if number > _MAX_BOXES:
            break
    return count, pcm


def _within(file: Seekable, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Boxes in ``[at, end)``, and inside those that lead to tables, as (type, start of the content, end)."""
    levels = [_boxes(file, at, end)]  # and no recursion: a file may go deeper than Python does
    while levels:
        found = next(levels[-1], None)
        if found is None:
            levels.pop()
            continue
        yield found
        kind, start, after = found
        if kind in _AROUND:
            levels.append(_boxes(file, start, after))


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
