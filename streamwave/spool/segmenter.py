"""The segmenter: reads one source and writes its spool. A process of its own, so that it survives all others.

``python -m streamwave.spool.segmenter SPOOL``, with ``Options`` on standard input, ends by itself with the source.
SIGTERM and SIGINT end it gracefully: what has already arrived is still taken in, the last chunk is closed, and the
journal gets its end record. SIGUSR1 ends it so too, but takes nothing more in, for a publisher that is given up while it
goes on sending.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from av import Packet
from pydantic import TypeAdapter

from streamwave.errors import SourceError
from streamwave.ffmpeg.examine import examine_file
from streamwave.ffmpeg.probe import describe, explain, nothing_in, open_source, tracks
from streamwave.model import ChunkRecord, SourceInfo
from streamwave.spool.audio import SAMPLE_RATE, AudioTrack
from streamwave.spool.bound import Bound
from streamwave.spool.chunkfile import VideoChunk, write_audio
from streamwave.spool.journal import ChunkLine, EndRecord, JournalWriter, OpenRecord
from streamwave.timing import AAC_FRAME, aac_frame_at_ms, choose_rate, round_half_up

#: Packets that may wait between the reader and the chunk writer.
QUEUE_PACKETS = 1024
#: How far the pictures may be ahead before a chunk stops waiting for its audio and takes silence instead.
AUDIO_WAIT_MS = 500
#: After a request to stop: nothing arriving for this long means that all that was sent has been read.
IDLE_S = 0.3
STOP_LIMIT_S = 5.0
#: A source that has said nothing for this long gets silence for the audio that a closed chunk still lacks.
SILENT_S = 3.0
#: Reason of an end record: it was not the source that failed.
SPOOL_FAILED = "spool failed"
_NOTHING_DECODABLE = "the source holds no picture that can be decoded from a keyframe on, and no audio"


@dataclass(frozen=True)
class Options:
    """``segment_ms`` least length of a chunk; ``max_ahead`` chunk files that may wait (0: no limit, for live sources)."""

    source: str
    spool: Path
    segment_ms: int = 2000
    audio_bps: int = 128_000
    live: bool = False
    max_ahead: int = 0
    read_timeout_s: int = 30
    spool_max_bytes: int = 0  # bound of the spool of all streams, of which ``spool`` is a session; 0: none


@dataclass(frozen=True)
class _Failed:
    """What the reader thread puts into the queue at the end; ``error`` is None for a normal end of the source."""

    error: str | None


class Segmenter:
    """One run over one source."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.stop = threading.Event()
        self.at_once = False
        self._journal = JournalWriter(options.spool)
        self._queue: queue.Queue[Packet[Any] | _Failed] = queue.Queue(QUEUE_PACKETS)
        self._video: Any = None
        self._audio_stream: Any = None
        self._audio: AudioTrack | None = None
        self._info: SourceInfo | None = None
        self._origin: Fraction | None = None
        self._origin_unix_ms = 0
        self._heard = False  # a packet has come
        self._opened = False
        self._chunk: VideoChunk | None = None
        self._closing: tuple[VideoChunk, int, int] | None = None  # chunk, next_ms, size: waits for its audio
        self._number = 0
        self._audio_first = 0
        self._early: list[Packet[Any]] = []  # audio from before the first keyframe
        self.undecodable = 0

    def give_up(self) -> None:
        """Stop, and take nothing more in."""
        self.at_once = True
        self.stop.set()

    def run(self) -> None:
        """Read the source to its end. Whatever happens, the journal says how it ended."""
        reason, error = "end of source", None
        try:
            threading.Thread(target=self._read, name="reader", daemon=True).start()
            for packet in self._packets():
                self._take(packet)
            if self.stop.is_set():
                reason = "stopped"
        except SourceError as failure:
            reason, error = "source failed", str(failure)
        except OSError as failure:
            reason, error = SPOOL_FAILED, f"the spool {self.options.spool} cannot be written ({failure.strerror})"
        try:
            self._finish()
        except OSError as failure:
            if error is None:
                reason, error = SPOOL_FAILED, f"the spool {self.options.spool} cannot be written ({failure.strerror})"
        if reason == SPOOL_FAILED:
            self._make_room()
        if not self._opened and error is None:
            # A server may tell what would come, or not even that, before its publisher goes away without a packet.
            error = _NOTHING_DECODABLE if self._heard else nothing_in(self.options.source)
        self._journal.append(EndRecord(reason=reason, error=error, ended_unix_ms=time.time_ns() // 1_000_000))
        self._journal.close()

    def _read(self) -> None:
        """The reader thread: opening and reading can block for as long as the source says nothing."""
        error = None
        try:
            container = open_source(
                self.options.source, read_timeout_s=self.options.read_timeout_s, live=self.options.live
            )
            self._info = describe(container, self.options.source)
            self._video, self._audio_stream = tracks(container)
            for packet in container.demux([s for s in (self._video, self._audio_stream) if s is not None]):
                if packet.size or packet.pts is not None:
                    self._queue.put(packet)
        except SourceError as failure:
            error = str(failure)
        except Exception as failure:  # whatever it is, the other thread must learn of it
            error = explain(self.options.source, failure)
        self._queue.put(_Failed(error))

    def _packets(self) -> Iterator[Packet[Any]]:
        """Packets until the source ends, or has been drained after a request to stop."""
        stop_at, heard = None, time.monotonic()
        while True:
            if self.stop.is_set() and stop_at is None:
                stop_at = time.monotonic() + STOP_LIMIT_S
            try:
                item = self._queue.get(timeout=IDLE_S)
            except queue.Empty:
                if stop_at is not None:
                    return
                # A hiccup of the network is no reason to put silence where samples are still to come.
                if self._closing is not None and time.monotonic() - heard > SILENT_S:
                    self._complete(force=True)
                continue
            heard = time.monotonic()
            if isinstance(item, _Failed):
                if item.error is not None and not self.stop.is_set():
                    raise SourceError(item.error)
                return
            if stop_at is not None and (self.at_once or not self.options.live or time.monotonic() > stop_at):
                return
            self._heard = True
            yield item

    def _seconds(self, packet: Packet[Any], stamp: int) -> Fraction:
        assert packet.time_base is not None
        return stamp * packet.time_base

    def _take(self, packet: Packet[Any]) -> None:
        if packet.stream is self._video or (self._video is not None and packet.stream_index == self._video.index):
            self._take_video(packet)
        else:
            self._take_audio(packet)
        if self._closing is not None:
            self._complete()

    def _take_video(self, packet: Packet[Any]) -> None:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None:
            self.undecodable += 1
            return
        at = self._seconds(packet, stamp)
        if self._origin is None:
            if not packet.is_keyframe:
                self.undecodable += 1
                return
            self._begin(at)
        assert self._origin is not None
        pts_ms = round_half_up((at - self._origin) * 1000)
        dts = packet.dts
        dts_ms = None if dts is None else round_half_up((self._seconds(packet, dts) - self._origin) * 1000)
        duration_ms = round_half_up(self._seconds(packet, packet.duration or 0) * 1000)
        if packet.is_keyframe and (
            # Ten percent of grace: a keyframe that comes a little early must not double the chunk.
            self._chunk is None or (pts_ms - self._chunk.start_ms) * 10 >= self.options.segment_ms * 9
        ):
            if self._chunk is not None:
                self._cut(pts_ms)
            self._wait_for_room()
            self._chunk = VideoChunk(self.options.spool, self._number, self._video, pts_ms)
        assert self._chunk is not None
        self._chunk.write(packet, pts_ms, dts_ms, duration_ms)

    def _stated_audio_end(self) -> Fraction | None:
        """Where the audio of a file ends by its own word, in seconds."""
        track = self._audio_stream
        stated = bool(track.duration and track.time_base) and not self.options.live
        return Fraction((track.start_time or 0) + track.duration) * Fraction(track.time_base) if stated else None

    def _begin(self, origin: Fraction) -> None:
        self._origin = origin
        self._origin_unix_ms = time.time_ns() // 1_000_000
        if self._audio_stream is not None:
            self._audio = AudioTrack(self.options.audio_bps, origin, self._stated_audio_end())
            for packet in self._early:
                self._audio.push(packet)
            self._early = []

    def _take_audio(self, packet: Packet[Any]) -> None:
        if self._origin is None and self._video is None:
            self._begin(self._audio_origin(packet))
        if self._audio is None:
            self._early = [*self._early[-1023:], packet]
            return
        self._audio.push(packet)
        if self._video is None:
            self._cut_audio_only()

    def _audio_origin(self, packet: Packet[Any]) -> Fraction:
        """Where sound without pictures begins, in seconds: behind the priming of its encoder, which the decoder drops."""
        first = self._seconds(packet, packet.pts if packet.pts is not None else (packet.dts or 0))
        stated = self._audio_stream.start_time
        if stated is not None:
            begins: Fraction = stated * self._audio_stream.time_base
            if abs(begins - first) < Fraction(1, 10):
                return begins
        return max(first, Fraction(0))

    def _cut_audio_only(self) -> None:
        assert self._audio is not None
        length = max(1, aac_frame_at_ms(self.options.segment_ms, SAMPLE_RATE))
        while self._audio.available - self._audio_first >= length:
            self._wait_for_room()
            self._record_audio_only(self._audio_first + length)

    def _record_audio_only(self, until: int) -> None:
        assert self._audio is not None
        frames = self._audio.take(until)
        first_ms = round_half_up(Fraction(self._audio_first * AAC_FRAME * 1000, SAMPLE_RATE))
        next_ms = round_half_up(Fraction((self._audio_first + len(frames)) * AAC_FRAME * 1000, SAMPLE_RATE))
        name, size = write_audio(self.options.spool, self._number, frames)
        self._append(None, first_ms, next_ms, 0, name, len(frames), size)

    def _cut(self, next_ms: int) -> None:
        """Close the open chunk at ``next_ms``; it is journalled as soon as its audio is complete."""
        if self._closing is not None:
            self._complete(force=True)
        assert self._chunk is not None
        size = self._chunk.close()
        self._closing = (self._chunk, next_ms, size)
        self._number += 1
        self._chunk = None

    def _complete(self, *, force: bool = False, last: bool = False) -> None:
        """Journal the closed chunk if its audio is there, or if it has been waited for long enough."""
        assert self._closing is not None
        chunk, next_ms, size = self._closing
        name, count = None, 0
        if self._audio is not None:
            until = aac_frame_at_ms(next_ms, SAMPLE_RATE)
            if self._audio.available < until:
                newest_ms = self._chunk.end_ms if self._chunk is not None else next_ms
                if not force and newest_ms - next_ms < AUDIO_WAIT_MS:
                    return
                self._audio.fill_to(until)
            if last:
                until = max(until, self._audio.available)
            frames = self._audio.take(until)
            count = len(frames)
            if frames:
                name, audio_size = write_audio(self.options.spool, chunk.number, frames)
                size += audio_size
        self._closing = None
        if not self._opened:
            self._open(chunk)
        number, self._number = self._number, chunk.number
        pictures, arrived = len(chunk.starts_ms), chunk.last_arrival_unix_ms
        self._append(chunk.path.name, chunk.start_ms, next_ms, pictures, name, count, size, arrived)
        self._number = number

    def _open(self, chunk: VideoChunk | None) -> None:
        assert self._info is not None
        if chunk is not None and self._info.video is not None:
            rate = choose_rate(self._info.video.stated_rate, chunk.starts_ms)
            self._info = examine_file(chunk.path, self._info)
        else:
            rate = Fraction(SAMPLE_RATE, AAC_FRAME)  # a grid of AAC frames
        self._journal.append(
            OpenRecord(
                source=self._info,
                rate=rate,
                sample_rate=SAMPLE_RATE if self._audio is not None else None,
                origin_unix_ms=self._origin_unix_ms,
            )
        )
        self._opened = True
        self._rate = rate

    def _append(
        self,
        video: str | None,
        start_ms: int,
        next_ms: int,
        pictures: int,
        audio: str | None,
        count: int,
        size: int,
        arrived_unix_ms: int | None = None,
    ) -> None:
        if not self._opened:
            self._open(None)
        self._journal.append(
            ChunkLine(
                chunk=ChunkRecord(
                    number=self._number,
                    video_file=video,
                    start_ms=start_ms,
                    next_ms=next_ms,
                    pictures=pictures,
                    audio_file=audio,
                    audio_first=self._audio_first,
                    audio_count=count,
                    size_bytes=size,
                    closed_unix_ms=arrived_unix_ms or time.time_ns() // 1_000_000,
                )
            )
        )
        self._audio_first += count
        self._number += video is None

    def _wait_for_room(self) -> None:
        """Hold a source that can wait while its consumer is behind; an OSError where the whole spool is full."""
        Bound(self.options.spool, self.options.spool_max_bytes).check()
        if self.options.max_ahead <= 0:
            return
        suffix = "mkv" if self._video is not None else "aac"
        while not self.stop.is_set() and len(list(self.options.spool.glob(f"*.{suffix}"))) >= self.options.max_ahead:
            time.sleep(0.05)

    def _finish(self) -> None:
        """Close the last chunk with all audio that is left."""
        if self._closing is not None:
            self._complete(force=True)
        if self._audio is not None:
            self._audio.flush_decoder(self._audio_stream.codec_context)
        if self._chunk is not None:
            if not self._chunk.starts_ms:
                self._chunk.abandon()
                return
            if not self._opened:
                assert self._info is not None and self._info.video is not None
                self._rate = choose_rate(self._info.video.stated_rate, self._chunk.starts_ms)
            end_ms = round_half_up(max(self._chunk.starts_ms) + 1000 / self._rate)
            self._cut(end_ms)
            if self._audio is not None:
                self._audio.finish(aac_frame_at_ms(end_ms, SAMPLE_RATE))
            self._complete(force=True, last=True)
        elif self._video is None and self._audio is not None:
            self._audio.finish()
            if self._audio.available > self._audio_first:
                self._record_audio_only(self._audio.available)

    def _make_room(self) -> None:
        """Drop the chunk that could not be received, so that the journal's last line finds space."""
        for chunk in (self._chunk, self._closing[0] if self._closing is not None else None):
            if chunk is not None:
                with suppress(OSError):
                    chunk.abandon()


def main() -> int:
    """The segmenter process; ``Options`` come as JSON on standard input."""
    options = TypeAdapter(Options).validate_json(sys.stdin.buffer.read())
    segmenter = Segmenter(options)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: segmenter.stop.set())
    signal.signal(signal.SIGUSR1, lambda *_: segmenter.give_up())
    segmenter.run()
    return 0


if __name__ == "__main__":
    code = main()
    # The reader may still wait for a source that says nothing any more; it must not hold the process.
    os._exit(code)
