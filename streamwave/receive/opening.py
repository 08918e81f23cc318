"""Opens a source the way that suits it: by libavformat, or as a flow of bytes in which tracks may begin or change later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from streamwave.errors import SourceError
from streamwave.ffmpeg.arriving import open_arriving
from streamwave.ffmpeg.flv import FLV, SoundTag, TagFlow, holds_pictures, pictures_announced, sound_codecs
from streamwave.ffmpeg.formats import counts_pictures
from streamwave.ffmpeg.limits import SourceLimits
from streamwave.ffmpeg.localfile import LocalFile, open_local
from streamwave.ffmpeg.mpegts import ProgramFlow
from streamwave.ffmpeg.probe import describe, duration_ms, open_source
from streamwave.ffmpeg.tracks import tracks
from streamwave.model import SourceInfo
from streamwave.receive.arrival import ArrivalClock, Arrivals
from streamwave.receive.connection import RTMP, Connection

#: How much of a file that is read as a flow is read at once.
PIECE_BYTES = 1 << 16
#: How HLS playlists begin, which only name the places where the media are.
_PLAYLIST = b"#EXTM3U"
#: How the pictures of a camera begin, which come one after the other (multipart/x-mixed-replace), and their demuxer.
_MULTIPART, _CAMERA = b"--", "mpjpeg"

Flow = TagFlow | ProgramFlow


@dataclass(frozen=True)
class Tracks:
    """The tracks that the packets belong to; ``video`` and ``audio`` are tracks or None.

    ``announced``: a live source says that it has pictures. ``held``: whether a file has pictures somewhere, if that was
    examined. ``arrivals`` are set if pictures get the times of their arrival.
    """

    info: SourceInfo
    video: Any
    audio: Any
    announced: bool = False
    held: bool | None = None
    arrivals: Arrivals | None = None

    def clock(self) -> ArrivalClock | None:
        """A clock for the pictures, if they have no times of their own."""
        return ArrivalClock(self.arrivals, self.video) if self.arrivals is not None else None


@dataclass(frozen=True)
class Opened:
    """An open source, and its flow if other tracks may follow."""

    container: Any
    flow: Flow | None
    tracks: Tracks


class Opening:
    """Opens ``source``. ``connection`` is the one to it, ``take_audio`` gets FLV audio that libavformat does not know.

    ``audio_track`` is the number of the audio track to take, from 0. ``passed_over`` counts MPEG-TS programs that were skipped.
    """

    def __init__(
        self,
        source: str,
        *,
        live: bool,
        timeout_s: int,
        audio_track: int | None,
        limits: SourceLimits,
        connection: Connection,
        take_audio: Callable[[SoundTag], None],
    ) -> None:
        self._source, self._live, self._timeout_s = source, live, timeout_s
        self._audio_track, self._limits = audio_track, limits
        self._connection, self._take_audio = connection, take_audio
        self._arrivals: Arrivals | None = None
        self._duration_ms: int | None = None
        self._held: bool | None = None
        self.passed_over = 0

    def open(self) -> Opened:
        """Open the source.

        Raises:
            SourceError: it cannot be opened, or has no track that can be used.
        """
        container, flow = self._open()
        return Opened(container, flow, self._tracks(container))

    def following(self, flow: Flow | None) -> Opened | None:
        """What follows with other tracks in ``flow``, if anything does. MPEG-TS programs that cannot be used are skipped.

        Raises:
            SourceError: it cannot be opened.
        """
        while flow is not None:
            try:
                container, _ = self._through(flow)
                return Opened(container, flow, self._tracks(container))
            except SourceError:
                if not isinstance(flow, ProgramFlow):
                    raise
            self.passed_over += 1
            while flow.read(PIECE_BYTES):
                continue
            flow = flow.following
        return None

    def _tracks(self, container: Any) -> Tracks:
        info = describe(container, self._source, self._audio_track)
        if self._duration_ms is not None:
            info = info.model_copy(update={"duration_ms": self._duration_ms})
        video, audio = tracks(container, self._audio_track)
        arrivals = self._arrivals
        if arrivals is not None and (video is None or not counts_pictures(container.format)):
            arrivals.forget()
            arrivals = None
        held, self._held = self._held, None  # the file as a whole was examined, so this counts once
        return Tracks(info, video, audio, self._live and pictures_announced(container), held, arrivals)

    def _open(self) -> tuple[Any, Flow | None]:
        if self._source.startswith(RTMP):
            return self._through(TagFlow(self._connection.pieces(self._connection.open()), self._take_audio))
        if self._live and not self._source.startswith("file:"):
            raw, arrivals = self._connection.open(), Arrivals()
            pieces = arrivals.note(self._connection.pieces(raw))
            first = _beginning(pieces)
            # A source with a length is a file on a web server, of which ranges can be requested; but cameras invent lengths.
            if raw.size <= 0 or first.lstrip().startswith(_MULTIPART):
                if first.startswith(FLV):
                    arrivals.forget()
                    return self._through(TagFlow(chain([first], pieces), self._take_audio))
                if not first.startswith(_PLAYLIST):
                    self._arrivals = arrivals
                    return self._through(ProgramFlow(pieces, first))
            raw.close()
        container = open_source(self._source, read_timeout_s=self._timeout_s, live=self._live, limits=self._limits)
        if container.format.name == _CAMERA and not self._source.startswith("file:"):
            container.close()  # its pictures have no times but those of their arrival, live or not
            self._arrivals = arrivals = Arrivals()
            pieces = arrivals.note(self._connection.pieces(self._connection.open()))
            return self._through(ProgramFlow(pieces))
        return self._file(container) if self._source.startswith("file:") else (container, None)

    def _file(self, container: Any) -> tuple[Any, Flow | None]:
        pieces = _pieces_of(open_local(self._source))
        if container.format.name == "mpegts":
            self._duration_ms = duration_ms(container)
            return self._through(ProgramFlow(pieces))
        if container.format.name == "flv":
            # Audio, or pictures, that libavformat has not met when it opened the file.
            self._held = not container.streams.video and holds_pictures(self._source)
            if self._held or len(sound_codecs(self._source)) > len(container.streams.audio):
                return self._through(TagFlow(pieces, self._take_audio))
        return container, None

    def _through(self, flow: Flow) -> tuple[Any, Flow]:
        if self._live and isinstance(flow, ProgramFlow):
            return open_arriving(self._source, flow, self._limits), flow
        container = open_source(self._source, live=self._live, flow=flow, format=flow.format, limits=self._limits)
        return container, flow


def _beginning(pieces: Iterator[bytes]) -> bytes:
    """Enough bytes to recognize the format."""
    first = b""
    while len(first) < len(_PLAYLIST) and (piece := next(pieces, b"")):
        first += piece
    return first


def _pieces_of(file: LocalFile) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        yield piece
