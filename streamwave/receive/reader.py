"""Reads a source in a thread of its own: opening and reading can block for as long as the source says nothing."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any

import av.error
from av import Packet

from streamwave.errors import SourceError
from streamwave.ffmpeg.arriving import open_arriving
from streamwave.ffmpeg.encrypted import check_clear
from streamwave.ffmpeg.flv import (
    FILE_HEADER_BYTES,
    FLV,
    LateSound,
    SoundTag,
    TagFlow,
    holds_pictures,
    pictures_announced,
    sound_codecs,
)
from streamwave.ffmpeg.formats import counts_pictures
from streamwave.ffmpeg.limits import USUAL, CpuLease, SourceLimits
from streamwave.ffmpeg.localfile import LocalFile, open_local
from streamwave.ffmpeg.mpegts import ProgrammeFlow
from streamwave.ffmpeg.probe import describe, describe_audio, duration_ms, explain, open_source
from streamwave.ffmpeg.tracks import leave_out, tracks
from streamwave.model import SourceInfo
from streamwave.receive.arrival import ArrivalClock, Arrivals
from streamwave.receive.arrived import Arriving
from streamwave.receive.gaps import gaps_of, in_gap
from streamwave.receive.pictures import Pictures
from streamwave.spool.stop import STOP_LIMIT_S

#: Packets that may wait between the reader and whoever takes them, and their bytes.
QUEUE_PACKETS, QUEUE_BYTES = 1024, 128_000_000
#: After a request to stop: nothing arriving for this long means that all that was sent has been read.
IDLE_S = 0.3
#: Damaged places in a row at which the reading goes on behind them.
MOST_DAMAGE = 20
#: Sound waits for pictures, because players cannot go over from sound alone to pictures: for so many packets, and live so
#: many seconds for those that were announced, or that are known to come.
AWAITED_PACKETS = 1024
ANNOUNCED_S, KNOWN_S = 6, 12
#: Sources that are opened as a flow of FLV's tags, and how much of a file that is read as a flow is read at once.
_RTMP = ("rtmp:", "rtmps:")
PIECE_BYTES = 1 << 16
#: How HLS begins, which names the places where the media are.
_PLAYLIST = b"#EXTM3U"
#: How the pictures of a camera begin, which come one after the other (multipart/x-mixed-replace), and their demuxer.
_MULTIPART, _CAMERA = b"--", "mpjpeg"

Flow = TagFlow | ProgrammeFlow


@dataclass(frozen=True)
class _Ended:
    """What the thread puts into the queue at the end; ``error`` is None for a normal end of the source."""

    error: str | None


@dataclass(frozen=True)
class _Tracks:
    """What the packets that follow belong to."""

    info: SourceInfo
    video: Any
    audio: Any
    pictures_announced: bool = False
    by_arrival: bool = False


class Reader:
    """One source. ``info``, ``video`` and ``audio`` (tracks or None) are there once the first packet is.

    Sound may begin later: ``audio`` then becomes its track, which ``info.audio`` may have announced. So may pictures, in FLV;
    all three are others then.
    ``audio_track`` is the number of the audio track to take, from 0; ``await_pictures``: there are pictures, even if nothing
    is to be seen of them at first. ``damaged`` counts places that could not be read.
    """

    def __init__(
        self,
        source: str,
        *,
        live: bool,
        timeout_s: int,
        audio_track: int | None = None,
        await_pictures: bool = False,
        limits: SourceLimits = USUAL,
    ) -> None:
        self.info: SourceInfo | None = None
        self.video: Any = None
        self.audio: Any = None
        self.heard = False  # a packet has come
        self.over = threading.Event()  # nothing more will come than waits already
        self.damaged = 0
        self.tracks_added = False
        self.by_arrival = False
        self._source = source
        self._limits = limits
        self._lease = CpuLease(limits.stalled_cpu_s)
        self._live = live
        self._timeout_s = timeout_s
        self._audio_track = audio_track
        self._late = LateSound()
        self._known = await_pictures
        self._awaits = await_pictures  # sound is held back
        self._opened = False
        self._duration_ms: int | None = None
        self._fell_silent: str | None = None
        self._arrivals: Arrivals | None = None
        self._queue: Arriving[Packet[Any] | _Tracks | _Ended] = Arriving(QUEUE_PACKETS, QUEUE_BYTES)

    @property
    def stated_audio_end(self) -> Fraction | None:
        """Where the audio of a file ends by its own word, in seconds."""
        track = self.audio
        stated = track is not None and bool(track.duration and track.time_base) and not self._live
        return Fraction((track.start_time or 0) + track.duration) * Fraction(track.time_base) if stated else None

    def start(self) -> None:
        """Begin to read."""
        self._lease.renew()
        threading.Thread(target=self._read, name="reader", daemon=True).start()

    def packets(
        self, stop: threading.Event, at_once: Callable[[], bool], idle: Callable[[float], None]
    ) -> Iterator[Packet[Any]]:
        """Packets until the source ends, or has been drained after ``stop`` (not so if ``at_once``).

        ``idle`` is called with the seconds since the last packet, every now and then while none comes.

        Raises:
            SourceError: the source cannot be read (any further).
        """
        waiting: deque[Packet[Any]] = deque(maxlen=AWAITED_PACKETS)
        failure: SourceError | None = None
        try:
            for packet in self._arriving(stop, at_once, idle):
                waiting.append(packet)
                if not self._await_pictures(waiting):
                    yield from map(self._noted, waiting)
                    waiting.clear()
        except SourceError as error:
            failure = error
        yield from map(self._noted, waiting)
        if failure is not None:
            raise failure

    def _await_pictures(self, waiting: Sequence[Packet[Any]]) -> bool:
        """Whether sound is to wait on. A file is known to have them somewhere, and sound long before them is not needed."""
        if self._awaits and self._live:
            waited_s = self._at(waiting[-1]) - self._at(waiting[0])
            self._awaits = len(waiting) < AWAITED_PACKETS and waited_s < (KNOWN_S if self._known else ANNOUNCED_S)
        self._awaits = self._awaits and self.video is None
        return self._awaits

    @staticmethod
    def _at(packet: Packet[Any]) -> Fraction:
        return (packet.pts or 0) * Fraction(packet.time_base or 0)

    def _noted(self, packet: Packet[Any]) -> Packet[Any]:
        self.heard = True
        self._note_late(packet.stream)
        return packet

    def _arriving(
        self, stop: threading.Event, at_once: Callable[[], bool], idle: Callable[[float], None]
    ) -> Iterator[Packet[Any]]:
        stop_at, heard = None, time.monotonic()
        while True:
            if stop.is_set() and stop_at is None:
                stop_at = time.monotonic() + STOP_LIMIT_S
            item = self._queue.get(timeout_s=IDLE_S)
            if item is None:
                if stop_at is not None:
                    return
                idle(time.monotonic() - heard)
                continue
            heard = time.monotonic()
            self._lease.renew()
            if isinstance(item, _Ended):
                if item.error is not None and not stop.is_set():
                    raise SourceError(item.error)
                return
            if stop_at is not None and (at_once() or not self._live or time.monotonic() > stop_at):
                return
            if isinstance(item, _Tracks):
                self.info, self.video, self.audio = item.info, item.video, item.audio
                self.by_arrival = item.by_arrival
                self._awaits = self.video is None and (self._awaits or item.pictures_announced)
            else:
                yield item

    def _read(self) -> None:
        error = None
        try:
            container, flow = self._open()
            found = self._tracks(container)
            while True:
                self._opened = True
                self._queue.put(found)
                if flow is not None:
                    flow.settle(known=found.audio is not None, pictures=found.video is not None)
                self._put_all(container, found)
                following = self._following(flow.following if flow is not None else None)
                if following is None:
                    break
                container, flow, found = following
        except SourceError as failure:
            error = str(failure)
        except Exception as failure:  # whatever it is, the other thread must learn of it
            error = explain(self._source, failure)
        self.over.set()
        self._queue.put(_Ended(error or self._fell_silent))

    def _following(self, flow: Flow | None) -> tuple[Any, Flow, _Tracks] | None:
        """What goes on with other tracks, if anything does. A programme that nothing can be made of is passed over."""
        while flow is not None:
            try:
                container, _ = self._through(flow)
                return container, flow, self._tracks(container)
            except SourceError:
                if not isinstance(flow, ProgrammeFlow):
                    raise
            self.damaged += 1
            while flow.read(PIECE_BYTES):
                continue
            flow = flow.following
        return None

    def _put_all(self, container: Any, found: _Tracks) -> None:
        gaps = gaps_of(self._source, container.format.name)
        pictures = None
        if found.video is not None:
            pictures = Pictures(found.video, container.format.name, gaps.get(found.video.id, ()))
        clock = ArrivalClock(self._arrivals, found.video) if found.by_arrival and self._arrivals is not None else None
        for packet in self._demux(container):
            if pictures is not None and packet.stream is found.video:
                for timed in clock.put(packet) if clock is not None else [packet]:
                    for picture in pictures.put(timed):
                        self._queue.put(picture, picture.size)
            elif packet.size and not in_gap(gaps.get(packet.stream.id, ()), packet):
                self._queue.put(packet, packet.size)

    def _tracks(self, container: Any) -> _Tracks:
        info = describe(container, self._source, self._audio_track)
        if self._duration_ms is not None:
            info = info.model_copy(update={"duration_ms": self._duration_ms})
        video, audio = tracks(container, self._audio_track)
        by_arrival = self._arrivals is not None and video is not None and counts_pictures(container.format)
        if self._arrivals is not None and not by_arrival:
            self._arrivals.forget()
        return _Tracks(info, video, audio, self._live and pictures_announced(container), by_arrival)

    def _open(self) -> tuple[Any, Flow | None]:
        """The open source, and its flow if it is one in which tracks may begin, or become others, later."""
        if self._source.startswith(_RTMP):
            return self._through(TagFlow(self._pieces(self._raw()), self._take_late))
        if self._live and not self._source.startswith("file:"):
            raw, arrivals = self._raw(), Arrivals()
            pieces = arrivals.note(self._pieces(raw))
            first = _beginning(pieces)
            # What has a length is a file at a web server, of which parts can be asked; but cameras make lengths up.
            if raw.size <= 0 or first.lstrip().startswith(_MULTIPART):
                if first.startswith(FLV):
                    arrivals.forget()
                    return self._through(TagFlow(chain([first], pieces), self._take_late))
                if not first.startswith(_PLAYLIST):
                    self._arrivals = arrivals
                    return self._through(ProgrammeFlow(pieces, first))
            raw.close()
        container = open_source(self._source, read_timeout_s=self._timeout_s, live=self._live, limits=self._limits)
        if container.format.name == _CAMERA and not self._source.startswith("file:"):
            container.close()  # it has no other time than that of its arrival, whatever it is to become
            self._arrivals = arrivals = Arrivals()
            return self._through(ProgrammeFlow(arrivals.note(self._pieces(self._raw()))))
        if not self._source.startswith("file:"):
            return container, None
        pieces = _pieces_of(open_local(self._source))
        if container.format.name == "mpegts":
            self._duration_ms = duration_ms(container)
            return self._through(ProgrammeFlow(pieces))
        if container.format.name == "flv":
            # Sound, or pictures, that libavformat has not met when it opened the file.
            self._awaits = not container.streams.video and holds_pictures(self._source)
            if self._awaits or len(sound_codecs(self._source)) > len(container.streams.audio):
                return self._through(TagFlow(pieces, self._take_late))
        return container, None

    def _raw(self) -> Any:
        return open_source(self._source, read_timeout_s=self._timeout_s, as_bytes=True, limits=self._limits)

    def _through(self, flow: Flow) -> tuple[Any, Flow]:
        if self._live and isinstance(flow, ProgrammeFlow):
            return open_arriving(self._source, flow, self._limits), flow
        container = open_source(self._source, live=self._live, flow=flow, format=flow.format, limits=self._limits)
        return container, flow

    def _pieces(self, raw: Any) -> Iterator[bytes]:
        """The bytes of a connection. That it breaks off is its end, as it is when libavformat reads FLV or MPEG-TS from it.

        That it says nothing any more is one as well, so that the last pictures come out; but for RTMP, whose servers say
        nothing when the publisher has gone, it is told.
        """
        try:
            yield from self._bytes(raw)
        except (av.error.FFmpegError, SourceError) as failure:
            silent = isinstance(failure, av.error.ExitError | SourceError)
            if silent and not self._opened:
                raise  # nothing to end yet
            if silent and not self._source.startswith(_RTMP):
                self._fell_silent = str(failure) if isinstance(failure, SourceError) else explain(self._source, failure)

    def _bytes(self, raw: Any) -> Iterator[bytes]:
        """The bytes of a connection. libavformat gives one up for an RTMP message that it does not know: another goes on."""
        known = 0  # bytes that come again
        while True:
            try:
                for packet in raw.demux():
                    data = bytes(packet)[known:]
                    known = max(0, known - packet.size)
                    if data:
                        yield data
                return
            except av.error.InvalidDataError:
                if not self._opened or not self._source.startswith(_RTMP) or self.damaged == MOST_DAMAGE:
                    raise
                self.damaged += 1
                raw, known = self._raw(), FILE_HEADER_BYTES

    def _take_late(self, tag: SoundTag) -> None:
        """Sound that libavformat does not know."""
        packet = self._late.packet(tag)
        if packet is not None:
            self._queue.put(packet, packet.size)

    def _note_late(self, track: Any) -> None:
        """Whoever takes the packets learns of the track with the first of them, not before."""
        if track.type == "audio" and track is not self.audio:
            self.audio = track
            if self.info is not None and self.info.audio is None:
                self.info = self.info.model_copy(update={"audio": describe_audio(track, self._source)})

    def _demux(self, container: Any) -> Iterator[Packet[Any]]:
        """The packets of the tracks that are used; goes on behind a damaged place."""
        used = [stream for stream in tracks(container, self._audio_track) if stream is not None]
        leave_out(container, used)
        in_a_row = 0
        while True:
            try:
                for packet in container.demux(used):
                    in_a_row = 0
                    yield check_clear(packet, self._source)
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


def _beginning(pieces: Iterator[bytes]) -> bytes:
    """As much as it takes to tell what it is."""
    first = b""
    while len(first) < len(_PLAYLIST) and (piece := next(pieces, b"")):
        first += piece
    return first


def _pieces_of(file: LocalFile) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        yield piece
