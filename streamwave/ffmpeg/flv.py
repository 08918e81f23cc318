"""The tags of FLV, which is also what RTMP carries (Adobe Flash Video File Format Specification 10.1, annex E).

PyAV knows only the tracks that libavformat found when it opened a source. Sound that begins later, or goes on in another
codec, is therefore taken out before libavformat sees it; what the pictures go through is not touched. Where pictures begin
later, the flow ends before the first of them, and another one begins with it.
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

#: What a file begins with.
FLV = b"FLV"
_FILE_HEADER = FLV + b"\x01\x04" + (9).to_bytes(4, "big") + bytes(4)
FILE_HEADER_BYTES = len(_FILE_HEADER)
_TAG_HEADER, _TAG_END = 11, 4
_SOUND, _PICTURE, _SCRIPT = 8, 9, 18
#: Formats of sound: AAC has packets of parameters, and so have those of Enhanced RTMP, which are named by four letters.
_AAC, _NAMED = 10, 9
_NAMES = {2: "mp3", 7: "pcm_alaw", 8: "pcm_mulaw", _AAC: "aac", 11: "speex", 14: "mp3"}
#: Kinds of pictures and of what comes in their tags; the codecs whose tags tell (7 is H.264, 12 stands for HEVC by custom).
_KEY, _SEQUENCE_ENDS, _WITH_PARAMETERS = 1, 2, (7, 12)
_OF_NAMED = {"mp4a": "aac", ".mp3": "mp3", "Opus": "opus", "fLaC": "flac", "ac-3": "ac3", "ec-3": "eac3"}
#: Tags of sound that are kept while libavformat finds out which tracks there are.
_MOST_EARLY = 4096


@dataclass(frozen=True)
class SoundTag:
    """A tag of sound: ``data`` as it stands in the file, with header and trailing size."""

    data: bytes

    @property
    def ms(self) -> int:
        """When it is heard, in milliseconds."""
        return int.from_bytes(self.data[4:7], "big") | self.data[7] << 24

    @property
    def codec(self) -> bytes:
        """What its sound is coded in, in as many bytes as it takes to tell."""
        body = self.data[_TAG_HEADER:-_TAG_END]
        return bytes([body[0] >> 4]) + (body[1:5] if body[0] >> 4 == _NAMED else b"") if body else b""

    @property
    def parameters(self) -> bool:
        """Whether it holds what a decoder must know, and no sound."""
        body = self.data[_TAG_HEADER:-_TAG_END]
        return (body[0] >> 4 == _AAC and body[1:2] == b"\0") or body[0] >> 4 == _NAMED and body[0] & 15 == 0

    @property
    def coded(self) -> bytes:
        """The sound; nothing if the tag holds something else."""
        body = self.data[_TAG_HEADER:-_TAG_END]
        if body[0] >> 4 == _NAMED:
            return body[5:] if body[0] & 15 == 1 else b""
        if body[0] >> 4 == _AAC:
            return body[2:] if body[1:2] == b"\1" else b""
        return body[1:]


class TagFlow:
    """A file object for libavformat. ``settle`` tells it which sound libavformat knows; all other goes to ``sound``.

    ``following`` is the flow that goes on with pictures, once they have come although libavformat knew of none.
    """

    format = "flv"

    def __init__(self, pieces: Iterator[bytes], sound: Callable[[SoundTag], None]) -> None:
        self.following: TagFlow | None = None
        self._pieces = pieces
        self._sound = sound
        self._data = bytearray()
        self._ready = bytearray()
        self._begun = False
        self._whole = True  # what comes can be told apart into tags
        self._early: deque[SoundTag] | None = deque(maxlen=_MOST_EARLY)
        self._known: bytes | None = None
        self._pictures = True  # libavformat knows of them
        self._heads: dict[int, bytes] = {}  # the newest tags without which those that follow cannot be read, by kind

    def settle(self, *, known: bool, pictures: bool = True) -> None:
        """libavformat has opened the source; if ``known`` it has found the first sound, if ``pictures`` these as well."""
        early, self._early = list(self._early or ()), None
        first = next((tag.codec for tag in early if tag.codec), None)
        self._known = first if known else b""
        self._pictures = pictures
        for tag in early:
            if tag.codec != self._known:
                self._sound(tag)

    def read(self, size: int) -> bytes:
        """The next bytes, ``size`` at most and one tag at most; none at the end."""
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
        """Whether this flow ends before ``tag``, because it brings pictures."""
        if not self._whole or len(tag) <= _TAG_HEADER + _TAG_END:
            return False
        if tag[0] == _SCRIPT or (tag[0] == _SOUND and SoundTag(tag).parameters):
            self._heads[tag[0]] = tag
        if not self._awaits_pictures or tag[0] != _PICTURE or not _begins_pictures(tag):
            return False
        self.following = TagFlow(self._pieces, self._sound)
        self.following._begun = True
        self.following._ready += _FILE_HEADER + b"".join(self._heads.values()) + tag
        self.following._data = self._data
        return True

    @property
    def _awaits_pictures(self) -> bool:
        return not self._pictures and self._early is None

    def _takes_out(self, tag: bytes) -> bool:
        if self._whole and tag[0] == _PICTURE and self._awaits_pictures:
            return True  # it shows nothing without what comes before it
        if not self._whole or tag[0] != _SOUND or len(tag) <= _TAG_HEADER + _TAG_END:
            return False
        sound = SoundTag(tag)
        if self._early is not None:
            self._early.append(sound)
            return False
        if self._known is None:
            self._known = sound.codec  # the track was known without any sound
        if sound.codec == self._known:
            return False
        self._sound(sound)
        return True

    def _next(self) -> bytes:
        """The file's header, one tag, or whatever there is once tags cannot be told apart any more."""
        if not self._begun:
            self._begun = True
            head = self._take(len(_FILE_HEADER))
            self._whole = head.startswith(FLV)
            return head
        if self._whole:
            if not self._fill(_TAG_HEADER):
                return self._take(_TAG_HEADER)
            self._whole = self._data[0] & 31 in (_SOUND, _PICTURE, _SCRIPT)
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
    """A script tag whose metadata libavformat understands; nothing if it holds none that are needed.

    What else there may be in it would end the reading, or add tracks.
    """
    body = plain(tag[_TAG_HEADER:-_TAG_END])
    if body is None:
        return b""
    size = len(body).to_bytes(3, "big")
    return tag[:1] + size + tag[4:_TAG_HEADER] + body + (len(body) + _TAG_HEADER).to_bytes(_TAG_END, "big")


def _begins_pictures(tag: bytes) -> bool:
    """Whether a tag of pictures holds a keyframe, or the parameters of those to come."""
    kind, second = tag[_TAG_HEADER], tag[_TAG_HEADER + 1]
    if kind & 0x80:  # Enhanced RTMP
        return kind >> 4 & 7 == _KEY and kind & 15 != _SEQUENCE_ENDS
    return kind >> 4 == _KEY and not (kind & 15 in _WITH_PARAMETERS and second == _SEQUENCE_ENDS)


class LateSound:
    """Makes packets that can be decoded of tags of sound. ``track`` is that of the last one."""

    def __init__(self) -> None:
        self.track: Any = None
        self._container: Any = None
        self._codec = b""
        self._parameters: SoundTag | None = None

    def packet(self, tag: SoundTag) -> Packet[Any] | None:
        """The sound of ``tag``; None if it holds none, or none that can be decoded."""
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
        """Let libavformat find out what decodes this sound."""
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
    """The sound that an open FLV source will have although libavformat has not met it yet; None if there is no word of it.

    A file is looked through for it. A live source's word is its metadata, which may be wrong.
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
    # Whatever it will be becomes 48 kHz stereo.
    return AudioInfo(codec=name, sample_rate=48000, channels=2) if name else None


def pictures_announced(container: Any) -> bool:
    """Whether the metadata of an open FLV source speak of pictures."""
    said: str = container.metadata.get("videocodecid", "") if container.format.name == "flv" else ""
    return said.partition(".")[0] not in ("", "0")


def _name(codec: bytes) -> str:
    return _OF_NAMED.get(codec[1:].decode("latin-1"), "unknown") if codec[1:] else _NAMES.get(codec[0], "unknown")


def sound_codecs(url: str) -> list[bytes]:
    """The codecs (see ``SoundTag``) of a whole file, in the order in which they begin; what one tag in a hundred says of
    itself is damage."""
    found = Counter(SoundTag(head + bytes(_TAG_END)).codec for head in _heads(url) if head[0] == _SOUND)
    return [codec for codec, count in found.items() if count * 100 > found.total()]


def holds_pictures(url: str) -> bool:
    """Whether there are pictures anywhere in a file."""
    return any(head[0] == _PICTURE and _begins_pictures(head) for head in _heads(url))


def _heads(url: str) -> Iterator[bytes]:
    """The beginnings of all tags of a file: their headers and the first bytes of what they hold."""
    file = open_local(url)
    file.seek(len(_FILE_HEADER))
    while len(head := file.read(_TAG_HEADER + 5)) > _TAG_HEADER + 1 and head[0] & 31 in (_SOUND, _PICTURE, _SCRIPT):
        yield head
        file.seek(_TAG_HEADER + int.from_bytes(head[1:4], "big") + _TAG_END - len(head), io.SEEK_CUR)
