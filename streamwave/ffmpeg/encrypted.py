"""Find the encrypted tracks of a source. StreamWave has no keys, so they cannot be used.

MP4 declares them in the sample entries (ISO/IEC 23001-7, Common Encryption; FairPlay and Audible have entries of their own),
Matroska in the track headers (RFC 9559, 5.1.4.1.31). libavformat reads encrypted tracks as if they were clear, and marks
only the packets of MP4, and of Matroska tracks with a key id.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from av import Packet
from av.container import InputContainer

from streamwave.errors import SourceError
from streamwave.ffmpeg.mp4file import Seekable, encrypted_track_ids
from streamwave.sources.address import shown

#: Metadata key that libavformat sets on an encrypted track.
_MARK = "enc_key_id"
#: Side data of an encrypted packet.
_SIDE_DATA: Literal["encryption_info"] = "encryption_info"

# Matroska elements (RFC 9559, section 5) on the path to the encryption, and the maximum number of elements per level.
_EBML, _SEGMENT, _TRACKS, _ENTRY, _KIND, _CODEC = 0x1A45DFA3, 0x18538067, 0x1654AE6B, 0xAE, 0x83, 0x86
_TO_ENCRYPTION = (0x6D80, 0x6240, 0x5035)  # ContentEncodings, ContentEncoding, ContentEncryption
_MAX_ELEMENTS = 20_000
#: Track types for which libavformat creates a stream: video, audio, subtitles, metadata.
_KINDS = (b"\x01", b"\x02", b"\x11", b"\x21")


def encrypted_in(file: Seekable) -> frozenset[int]:
    """The encrypted tracks of an MP4 file (by track id) or a Matroska file (by position); then rewind the file."""
    file.seek(0)
    matroska = file.read(4) == _EBML.to_bytes(4, "big")
    found = frozenset(_in_matroska(file)) if matroska else encrypted_track_ids(file)
    file.seek(0)
    return found


def mark(container: InputContainer, encrypted: frozenset[int]) -> None:
    """Mark the encrypted tracks of an open file, given the result of ``encrypted_in``."""
    for stream in container.streams if encrypted else ():
        of_matroska = container.format.name.startswith("matroska")
        if (stream.index if of_matroska else stream.id) in encrypted:
            stream.metadata.setdefault(_MARK, "")


def is_encrypted(stream: Any) -> bool:
    """Whether a track is known to be encrypted."""
    return _MARK in stream.metadata


def check_clear(packet: Packet[Any], url: str) -> Packet[Any]:
    """Return ``packet``, after checking that it is not encrypted: at a web server, that is not known before.

    Raises:
        SourceError: it is encrypted.
    """
    if packet.has_sidedata(_SIDE_DATA):
        raise SourceError(refusal(url, packet.stream.type))
    return packet


def refusal(url: str, kind: str = "", remedy: str = "") -> str:
    """The message for an encrypted source; ``kind`` is "video" or "audio", or empty for the whole source."""
    what = f"{shown(url)}: its {kind}" if kind else shown(url)
    remedy = remedy or "decrypt it with its key first, or use an unencrypted copy"
    return f"{what} is encrypted (DRM), and there is no key here; {remedy}"


def _in_matroska(file: Seekable) -> Iterator[int]:
    for segment, at, end in _elements(file, 0, file.size()):
        for part, start, after in _elements(file, at, end) if segment == _SEGMENT else ():
            if part == _TRACKS:
                yield from _entries(file, start, after)
                return


def _entries(file: Seekable, at: int, end: int) -> Iterator[int]:
    place = 0
    for element, start, after in _elements(file, at, end):
        if element == _ENTRY:
            inside = list(_elements(file, start, after))
            kind = next((_content(file, *one) for kind, *one in inside if kind == _KIND), b"")
            if kind not in _KINDS or not any(kind == _CODEC for kind, *_ in inside):
                continue
            if _leads(file, start, after, _TO_ENCRYPTION):
                yield place
            place += 1


def _leads(file: Seekable, at: int, end: int, path: tuple[int, ...]) -> bool:
    return not path or any(
        _leads(file, start, after, path[1:]) for kind, start, after in _elements(file, at, end) if kind == path[0]
    )


def _content(file: Seekable, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(min(end - start, 8)).lstrip(b"\0")


def _elements(file: Seekable, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Elements in ``[at, end)`` as (id, start of the content, end). An element of unknown length extends to ``end``."""
    for _ in range(_MAX_ELEMENTS):
        file.seek(at)
        head = file.read(12)
        of_id = 9 - head[0].bit_length() if head else 9
        if at >= end or of_id > 4 or len(head) <= of_id or not head[of_id]:
            return
        of_size = 9 - head[of_id].bit_length()
        size = int.from_bytes(head[of_id : of_id + of_size], "big") & ((1 << 7 * of_size) - 1)
        start = at + of_id + of_size
        after = end if size == (1 << 7 * of_size) - 1 else min(start + size, end)
        yield int.from_bytes(head[:of_id], "big"), start, after
        at = after
