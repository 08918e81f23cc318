"""Reads a source in a thread of its own, because opening and reading block for as long as the source sends nothing."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av.error
from av import Packet

from streamwave.errors import SourceError
from streamwave.ffmpeg.encrypted import check_clear
from streamwave.ffmpeg.flv import LateSound, SoundTag
from streamwave.ffmpeg.limits import USUAL, CpuLease, SourceLimits
from streamwave.ffmpeg.probe import describe_audio, explain
from streamwave.ffmpeg.tracks import leave_out
from streamwave.ffmpeg.tracks import tracks as tracks_of
from streamwave.model import SourceInfo
from streamwave.receive.bounded_queue import BoundedQueue
from streamwave.receive.connection import Connection
from streamwave.receive.gaps import gaps_of, in_gap
from streamwave.receive.opening import Opening, Tracks
from streamwave.receive.picture_wait import MOST_PACKETS, PictureWait
from streamwave.receive.pictures import Pictures
from streamwave.spool.stop import STOP_LIMIT_S

#: Packets, and their bytes, that may wait between the reader's thread and the one that takes them.
QUEUE_PACKETS, QUEUE_BYTES = 1024, 128_000_000
#: After a request to stop: when nothing has arrived for this many seconds, all that was sent has been read.
IDLE_S = 0.3
#: Damaged places in a row that are skipped.
MOST_DAMAGE = 20


@dataclass(frozen=True)
class _Ended:
    """What the thread puts into the queue at the end; ``error`` is None for a normal end of the source."""

    error: str | None


class Reader:
    """Reads one source. ``info``, ``video`` and ``audio`` (tracks or None) are set when the first packet comes.

    Audio may begin later: then ``audio`` becomes its track, which ``info.audio`` may have announced before. In FLV pictures may
    begin later too; then all three change. ``by_arrival``: pictures have the times of their arrival.
    ``audio_track`` is the number of the audio track to take, from 0; ``await_pictures``: see ``PictureWait``.
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
        self.over = threading.Event()  # nothing will come but what is in the queue
        self.tracks_added = False
        self.by_arrival = False
        self._source, self._live, self._audio_track = source, live, audio_track
        self._lease = CpuLease(limits.stalled_cpu_s)
        self._late = LateSound()
        self._wait = PictureWait(live=live, known=await_pictures)
        self._connection = Connection(source, timeout_s=timeout_s, limits=limits)
        self._opening = Opening(
            source, live=live, timeout_s=timeout_s, audio_track=audio_track, limits=limits,
            connection=self._connection, take_audio=self._take_late,
        )  # fmt: skip
        self._damaged = 0
        self._queue: BoundedQueue[Packet[Any] | Tracks | _Ended] = BoundedQueue(QUEUE_PACKETS, QUEUE_BYTES)

    @property
    def damaged(self) -> int:
        """Places of the source that could not be read."""
        return self._damaged + self._opening.passed_over + self._connection.reopened

    @property
    def stated_audio_end(self) -> Fraction | None:
        """Where a file states that its audio ends, in seconds."""
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
        """Packets until the source ends. After ``stop``, those that have arrived still come, unless ``at_once``.

        ``idle`` is called with the seconds since the last packet, again and again while none comes.

        Raises:
            SourceError: the source cannot be read, or not any further.
        """
        waiting: deque[Packet[Any]] = deque(maxlen=MOST_PACKETS)
        failure: SourceError | None = None
        try:
            for packet in self._arriving(stop, at_once, idle):
                waiting.append(packet)
                if not self._wait.goes_on(waiting):
                    yield from map(self._noted, waiting)
                    waiting.clear()
        except SourceError as error:
            failure = error
        yield from map(self._noted, waiting)
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Nothing more is expected of the source."""
        self._lease.end()

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
            if isinstance(item, Tracks):
                self.info, self.video, self.audio = item.info, item.video, item.audio
                self.by_arrival = item.arrivals is not None
                self._wait.found(item)
            else:
                yield item

    def _read(self) -> None:
        error = None
        try:
            opened = self._opening.open()
            while True:
                self._connection.established = True
                found, flow = opened.tracks, opened.flow
                self._queue.put(found)
                if flow is not None:
                    flow.settle(known=found.audio is not None, pictures=found.video is not None)
                self._put_all(opened.container, found)
                following = self._opening.following(flow.following if flow is not None else None)
                if following is None:
                    break
                opened = following
        except SourceError as failure:
            error = str(failure)
        except Exception as failure:  # whatever it is, the other thread must learn of it
            error = explain(self._source, failure)
        self.over.set()
        self._queue.put(_Ended(error or self._connection.fell_silent))

    def _put_all(self, container: Any, found: Tracks) -> None:
        gaps = gaps_of(self._source, container.format.name)
        pictures = None
        if found.video is not None:
            pictures = Pictures(found.video, container.format.name, gaps.get(found.video.id, ()))
        clock = found.clock()
        for packet in self._demux(container):
            if pictures is not None and packet.stream is found.video:
                for timed in clock.put(packet) if clock is not None else [packet]:
                    for picture in pictures.put(timed):
                        self._queue.put(picture, picture.size)
            elif packet.size and not in_gap(gaps.get(packet.stream.id, ()), packet):
                self._queue.put(packet, packet.size)

    def _take_late(self, tag: SoundTag) -> None:
        """Take FLV audio that libavformat does not know."""
        packet = self._late.packet(tag)
        if packet is not None:
            self._queue.put(packet, packet.size)

    def _note_late(self, track: Any) -> None:
        """Announce an audio track with its first packet, not before."""
        if track.type == "audio" and track is not self.audio:
            self.audio = track
            if self.info is not None and self.info.audio is None:
                self.info = self.info.model_copy(update={"audio": describe_audio(track, self._source)})

    def _demux(self, container: Any) -> Iterator[Packet[Any]]:
        """The packets of the tracks that are used; continues after damaged places."""
        used = [stream for stream in tracks_of(container, self._audio_track) if stream is not None]
        leave_out(container, used)
        in_a_row = 0
        while True:
            try:
                for packet in container.demux(used):
                    in_a_row = 0
                    yield check_clear(packet, self._source)
                return
            except IndexError:
                # Raised by PyAV when tracks were added while it was reading. In FLV they need not be media.
                self.tracks_added = container.format.name == "mpegts"
                return
            except av.error.InvalidDataError:
                self._damaged += 1
                in_a_row += 1
                if in_a_row > MOST_DAMAGE:
                    raise
