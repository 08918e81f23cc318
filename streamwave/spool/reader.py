"""Reads a source in a thread of its own: opening and reading can block for as long as the source says nothing."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av.error
from av import Packet

from streamwave.errors import SourceError
from streamwave.ffmpeg.flv import LateSound, SoundTag, TagFlow, sound_codecs
from streamwave.ffmpeg.probe import describe, describe_audio, explain, open_source, tracks
from streamwave.model import SourceInfo
from streamwave.spool.pictures import Pictures

#: Packets that may wait between the reader and whoever takes them.
QUEUE_PACKETS = 1024
#: After a request to stop: nothing arriving for this long means that all that was sent has been read.
IDLE_S = 0.3
STOP_LIMIT_S = 5.0
#: Damaged places in a row at which the reading goes on behind them.
MOST_DAMAGE = 20
#: Sources that are opened as a flow of FLV's tags, and how much of a file that is read so is read at once.
_RTMP = ("rtmp:", "rtmps:")
PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class _Ended:
    """What the thread puts into the queue at the end; ``error`` is None for a normal end of the source."""

    error: str | None


class Reader:
    """One source. ``info``, ``video`` and ``audio`` (tracks or None) are there once the first packet is.

    Sound may begin later: ``audio`` then becomes its track, which ``info.audio`` may have announced.
    ``audio_track`` is the number of the audio track to take, from 0; ``damaged`` counts places that could not be read.
    """

    def __init__(self, source: str, *, live: bool, timeout_s: int, audio_track: int = 0) -> None:
        self.info: SourceInfo | None = None
        self.video: Any = None
        self.audio: Any = None
        self.heard = False  # a packet has come
        self.damaged = 0
        self.tracks_added = False
        self._source = source
        self._live = live
        self._timeout_s = timeout_s
        self._audio_track = audio_track
        self._late = LateSound()
        self._queue: queue.Queue[Packet[Any] | _Ended] = queue.Queue(QUEUE_PACKETS)

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()

    def packets(
        self, stop: threading.Event, at_once: Callable[[], bool], idle: Callable[[float], None]
    ) -> Iterator[Packet[Any]]:
        """Packets until the source ends, or has been drained after ``stop`` (not so if ``at_once``).

        ``idle`` is called with the seconds since the last packet, every now and then while none comes.

        Raises:
            SourceError: the source cannot be read (any further).
        """
        stop_at, heard = None, time.monotonic()
        while True:
            if stop.is_set() and stop_at is None:
                stop_at = time.monotonic() + STOP_LIMIT_S
            try:
                item = self._queue.get(timeout=IDLE_S)
            except queue.Empty:
                if stop_at is not None:
                    return
                idle(time.monotonic() - heard)
                continue
            heard = time.monotonic()
            if isinstance(item, _Ended):
                if item.error is not None and not stop.is_set():
                    raise SourceError(item.error)
                return
            if stop_at is not None and (at_once() or not self._live or time.monotonic() > stop_at):
                return
            self.heard = True
            self._note_late(item.stream)
            yield item

    def _read(self) -> None:
        error = None
        try:
            container, flow = self._open()
            pictures = Pictures(self.video, container.format.name) if self.video is not None else None
            if flow is not None:
                flow.settle(known=self.audio is not None)
            for packet in self._demux(container):
                if pictures is not None and packet.stream is self.video:
                    for picture in pictures.put(packet):
                        self._queue.put(picture)
                elif packet.size:
                    self._queue.put(packet)
        except SourceError as failure:
            error = str(failure)
        except Exception as failure:  # whatever it is, the other thread must learn of it
            error = explain(self._source, failure)
        self._queue.put(_Ended(error))

    def _open(self) -> tuple[Any, TagFlow | None]:
        """The open source, and its flow of tags if it is one in which sound may begin later."""
        if self._source.startswith(_RTMP):
            raw = open_source(self._source, read_timeout_s=self._timeout_s, as_bytes=True)
            flow = TagFlow(self._pieces(raw), self._take_late)
            container = open_source(self._source, live=self._live, flow=flow)
            self.info = describe(container, self._source, self._audio_track)
        else:
            container, flow = open_source(self._source, read_timeout_s=self._timeout_s, live=self._live), None
            self.info = describe(container, self._source, self._audio_track)
            if self._hides_sound(container):
                flow = TagFlow(_pieces_of(Path(self._source.removeprefix("file:"))), self._take_late)
                container = open_source(self._source, flow=flow)
        self.video, self.audio = tracks(container, self._audio_track)
        return container, flow

    def _hides_sound(self, container: Any) -> bool:
        """Whether the source is a file with sound that libavformat has not met when it was opened."""
        if container.format.name != "flv" or not self._source.startswith("file:"):
            return False
        return len(sound_codecs(self._source)) > len(container.streams.audio)

    def _pieces(self, raw: Any) -> Iterator[bytes]:
        """The bytes of a connection. That it breaks off is its end, as it is when libavformat reads FLV from it."""
        try:
            for packet in raw.demux():
                if packet.size:
                    yield bytes(packet)
        except av.error.FFmpegError as failure:
            if isinstance(failure, av.error.ExitError) and self.video is None and self.audio is None:
                raise  # nothing to end yet: it gave no answer in time

    def _take_late(self, tag: SoundTag) -> None:
        """Sound that libavformat does not know."""
        packet = self._late.packet(tag)
        if packet is not None:
            self._queue.put(packet)

    def _note_late(self, track: Any) -> None:
        """Whoever takes the packets learns of the track with the first of them, not before."""
        if track.type == "audio" and track is not self.audio:
            self.audio = track
            if self.info is not None and self.info.audio is None:
                self.info = self.info.model_copy(update={"audio": describe_audio(track, self._source)})

    def _demux(self, container: Any) -> Iterator[Packet[Any]]:
        """The packets of the tracks that are used; goes on behind a damaged place."""
        used = [stream for stream in tracks(container, self._audio_track) if stream is not None]
        in_a_row = 0
        while True:
            try:
                for packet in container.demux(used):
                    in_a_row = 0
                    yield packet
                return
            except IndexError:
                # PyAV, where tracks were added while it read. In FLV they need not be media.
                self.tracks_added = container.format.name == "mpegts"
                return
            except av.error.InvalidDataError:
                self.damaged += 1
                in_a_row += 1
                if in_a_row > MOST_DAMAGE:
                    raise


def _pieces_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
