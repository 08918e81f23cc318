"""The tags of FLV, which RTMP carries too (Adobe Flash Video File Format Specification 10.1, annex E).

PyAV knows only the tracks that libavformat found when it opened a source. So audio that begins later, or continues with
another codec, is removed before libavformat sees it; video data is not changed. If video begins later, the flow ends before
its first tag, and another flow begins with it.
"""

from __future__ import annotations

import io
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
from av import Packet

from streamwave.ffmpeg.localfile import open_local
from streamwave.ffmpeg.metadata import plain
from streamwave.model import AudioInfo

#: The first bytes of a file.
FLV = b"FLV"
_FILE_HEADER = FLV + b"\x01\x04" + (9).to_bytes(4, "big") + bytes(4)
FILE_HEADER_BYTES = len(_FILE_HEADER)
_TAG_HEADER, _TAG_END = 11, 4
_AUDIO, _VIDEO, _SCRIPT = 8, 9, 18
#: Audio formats. AAC has tags with parameters, and so has Enhanced RTMP, which names codecs by four letters.
_AAC, _NAMED = 10, 9
_NAMES = {2: "mp3", 7: "pcm_alaw", 8: "pcm_mulaw", _AAC: "aac", 11: "speex", 14: "mp3"}
#: Frame type, packet type, and the codecs whose tags have a packet type (7 is H.264, 12 is HEVC by convention).
_KEY, _SEQUENCE_ENDS, _WITH_PARAMETERS = 1, 2, (7, 12)
_OF_NAMED = {"mp4a": "aac", ".mp3": "mp3", "Opus": "opus", "fLaC": "flac", "ac-3": "ac3", "ec-3": "eac3"}
#: Audio tags that are kept while libavformat finds out which tracks there are.
_MAX_EARLY = 4096


@dataclass(frozen=True)
class SoundTag:
    """An audio tag: ``data`` is the tag as in the file, with its header and trailing size."""

    data: bytes

    @property
    def ms(self) -> int:
        """Its timestamp in milliseconds."""
        return int.from_bytes(self.data[4:7], "big") | self.data[7] << 24

    @property
    def codec(self) -> bytes:
        """The codec of its audio, in as many bytes as identify it."""
        body = self.data[_TAG_HEADER:-_TAG_END]
        return bytes([body[0] >> 4]) + (body[1:5] if body[0] >> 4 == _NAMED else b"") if body else b""

    @property
    def parameters(self) -> bool:
        """Whether it contains decoder parameters rather than audio."""
        body = self.data[_TAG_HEADER:-_TAG_END]
        return (body[0] >> 4 == _AAC and body[1:2] == b"\0") or body[0] >> 4 == _NAMED and body[0] & 15 == 0

    @property
    def coded(self) -> bytes:
        """The encoded audio; empty if the tag contains something else."""
        body = self.data[_TAG_HEADER:-_TAG_END]
        if body[0] >> 4 == _NAMED:
            return body[5:] if body[0] & 15 == 1 else b""
        if body[0] >> 4 == _AAC:
            return body[2:] if body[1:2] == b"\1" else b""
        return body[1:]


class TagFlow:
    """A file object for libavformat. After ``settle``, audio that libavformat does not know goes to ``sound`` instead.

    If video arrives although libavformat knew of none, this flow ends, and ``following`` is the flow that continues with it.
    """

    format = "flv"

    def __init__(self, pieces: Iterator[bytes], sound: Callable[[SoundTag], None]) -> None:
        self.following: TagFlow | None = None
        self._pieces = pieces
        self._sound = sound
        self._data = bytearray()
        self._ready = bytearray()
        self._begun = False
        self._whole = True  # the data can be split into tags
        self._early: deque[SoundTag] | None = deque(maxlen=_MAX_EARLY)
        self._known: bytes | None = None
        self._pictures = True  # libavformat knows of video
        self._heads: dict[int, bytes] = {}  # the newest tags with parameters or metadata, by type

    def settle(self, *, known: bool, pictures: bool = True) -> None:
        """Called when libavformat has opened the source: ``known`` if it found the first audio, ``pictures`` if video."""
        early, self._early = list(self._early or ()), None
        first = next((tag.codec for tag in early if tag.codec), None)
        self._known = first if known else b""
        self._pictures = pictures
        for tag in early:
            if tag.codec != self._known:
                self._sound(tag)

    def read(self, size: int) -> bytes:
        """The next bytes, at most ``size`` and at most one tag; empty at the end."""
        while not self._ready:
            more = self._next() if self.following is None else b""
            if more and self._whole and more[0] == _SCRIPT:
                more = _with_plain_metadata(more)
                if not more:
                    continue
            if not more or self._goes_on_with(more):
                return b""
            if self._takes_out(more):
                continue
            self._ready += more
        out = bytes(self._ready[:size])
        del self._ready[:size]
        return out

    def _goes_on_with(self, tag: bytes) -> bool:
        """Whether this flow ends before ``tag`` because video begins there."""
        if not self._whole or len(tag) <= _TAG_HEADER + _TAG_END:
            return False
        if tag[0] == _SCRIPT or (tag[0] == _AUDIO and SoundTag(tag).parameters):
            self._heads[tag[0]] = tag
        if not self._awaits_video or tag[0] != _VIDEO or not _begins_video(tag):
            return False
        self.following = TagFlow(self._pieces, self._sound)
        self.following._begun = True
        self.following._ready += _FILE_HEADER + b"".join(self._heads.values()) + tag
        self.following._data = self._data
        return True

    @property
    def _awaits_video(self) -> bool:
        return not self._pictures and self._early is None

    def _takes_out(self, tag: bytes) -> bool:
        if self._whole and tag[0] == _VIDEO and self._awaits_video:
            return True  # cannot be decoded without the tags before it
        if not self._whole or tag[0] != _AUDIO or len(tag) <= _TAG_HEADER + _TAG_END:
            return False
        sound = SoundTag(tag)
        if self._early is not None:
            self._early.append(sound)
            return False
        if self._known is None:
            self._known = sound.codec  # the track was known before its first audio
        if sound.codec == self._known:
            return False
        self._sound(sound)
        return True

    def _next(self) -> bytes:
        """The file header, one tag, or all available data once it can no longer be split into tags."""
        if not self._begun:
            self._begun = True
            head = self._take(len(_FILE_HEADER))
            self._whole = head.startswith(FLV)
            return head
        if self._whole:
            if not self._fill(_TAG_HEADER):
                return self._take(_TAG_HEADER)
            self._whole = self._data[0] & 31 in (_AUDIO, _VIDEO, _SCRIPT)
        if self._whole:
            return self._take(_TAG_HEADER + int.from_bytes(self._data[1:4], "big") + _TAG_END)
        self._fill(1)
        return self._take(len(self._data))

    def _fill(self, size: int) -> bool:
        while len(self._data) < size:
            piece = next(self._pieces, b"")
            if not piece:
                return False
            self._data += piece
        return True

    def _take(self, size: int) -> bytes:
        self._fill(size)
        out = bytes(self._data[:size])
        del self._data[:size]
        return out


def _with_plain_metadata(tag: bytes) -> bytes:
    """Rewrite the metadata of a script tag so that libavformat understands it; empty if nothing useful is in it.

    Other content of script tags can end the stream in libavformat, or add tracks.
    """
    body = plain(tag[_TAG_HEADER:-_TAG_END])
    if body is None:
        return b""
    size = len(body).to_bytes(3, "big")
    return tag[:1] + size + tag[4:_TAG_HEADER] + body + (len(body) + _TAG_HEADER).to_bytes(_TAG_END, "big")


def _begins_video(tag: bytes) -> bool:
    """Whether a video tag contains a keyframe or decoder parameters."""
    kind, second = tag[_TAG_HEADER], tag[_TAG_HEADER + 1]
    if kind & 0x80:  # Enhanced RTMP
        return kind >> 4 & 7 == _KEY and kind & 15 != _SEQUENCE_ENDS
    return kind >> 4 == _KEY and not (kind & 15 in _WITH_PARAMETERS and second == _SEQUENCE_ENDS)


class LateSound:
    """Turns audio tags into packets that can be decoded. ``track`` is the track of the last one."""

    def __init__(self) -> None:
        self.track: Any = None
        self._container: Any = None
        self._codec = b""
        self._parameters: SoundTag | None = None

    def packet(self, tag: SoundTag) -> Packet[Any] | None:
        """The audio of ``tag`` as a packet; None if it contains none, or none that can be decoded."""
        if tag.codec != self._codec:
            self._codec, self._parameters, self._container = tag.codec, None, None
        if tag.parameters:
            if self._parameters is None or self._parameters.data[_TAG_HEADER:] != tag.data[_TAG_HEADER:]:
                self._parameters, self._container = tag, None
            return None
        coded = tag.coded
        if not coded or (self._container is None and not self._open(tag)):
            return None
        packet: Packet[Any] = Packet(coded)
        packet.time_base, packet.pts, packet.dts = Fraction(1, 1000), tag.ms, tag.ms
        packet.stream = self.track
        return packet

    def _open(self, tag: SoundTag) -> bool:
        """Have libavformat find the decoder for this audio."""
        file = _FILE_HEADER + (self._parameters.data if self._parameters is not None else b"") + tag.data
        try:
            container = av.open(io.BytesIO(file), format="flv", options={"protocol_whitelist": "none"})
        except av.error.FFmpegError:
            return False
        track = next((stream for stream in container.streams.audio if stream.codec_context is not None), None)
        if track is not None:
            self._container, self.track = container, track
        return track is not None


def announced(container: Any, url: str) -> AudioInfo | None:
    """The audio that an open FLV source will have, although libavformat has not found it yet; None if nothing indicates any.

    A file is searched for audio tags. For a live source, only the metadata is available, which may be wrong.
    """
    if container.format.name != "flv":
        return None
    if url.startswith("file:"):
        codecs = sound_codecs(url)
        name = _name(codecs[0]) if codecs else None
    else:
        said = container.metadata.get("audiocodecid", "0")
        number = said.partition(".")[0]
        name = _name(bytes([int(number) & 15])) if number.isdecimal() else _OF_NAMED.get(said, said)
        name = None if number == "0" or not said else name
    # All audio is converted to 48 kHz stereo.
    return AudioInfo(codec=name, sample_rate=48000, channels=2) if name else None


def pictures_announced(container: Any) -> bool:
    """Whether the metadata of an open FLV source announces video."""
    said: str = container.metadata.get("videocodecid", "") if container.format.name == "flv" else ""
    return said.partition(".")[0] not in ("", "0")


def _name(codec: bytes) -> str:
    return _OF_NAMED.get(codec[1:].decode("latin-1"), "unknown") if codec[1:] else _NAMES.get(codec[0], "unknown")


def sound_codecs(url: str) -> list[bytes]:
    """The audio codecs (see ``SoundTag``) of a whole file, in order of appearance. A codec in one tag of a hundred or fewer
    is considered damage."""
    found = Counter(SoundTag(head + bytes(_TAG_END)).codec for head in _heads(url) if head[0] == _AUDIO)
    return [codec for codec, count in found.items() if count * 100 > found.total()]


def holds_pictures(url: str) -> bool:
    """Whether a file contains video anywhere."""
    return any(head[0] == _VIDEO and _begins_video(head) for head in _heads(url))


def _heads(url: str) -> Iterator[bytes]:
    """The beginning of every tag of a file: its header and the first bytes of its content."""
    file = open_local(url)
    file.seek(len(_FILE_HEADER))
    while len(head := file.read(_TAG_HEADER + 5)) > _TAG_HEADER + 1 and head[0] & 31 in (_AUDIO, _VIDEO, _SCRIPT):
        yield head
        file.seek(_TAG_HEADER + int.from_bytes(head[1:4], "big") + _TAG_END - len(head), io.SEEK_CUR)
