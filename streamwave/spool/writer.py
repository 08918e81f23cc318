"""Writes one session into its spool: chunks that end at keyframes, each with the audio that belongs to it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Any

from av import Packet

from streamwave.ffmpeg.examine import examine_file
from streamwave.model import CONTAINERS, ChunkRecord, SourceInfo
from streamwave.spool.advisor import Advisor
from streamwave.spool.audio import SAMPLE_RATE, AudioTrack
from streamwave.spool.changes import VideoParameters
from streamwave.spool.chunkfile import VideoChunk, write_audio
from streamwave.spool.clock import Timed
from streamwave.spool.journal import AdviceLine, ChunkLine, EndRecord, JournalWriter, OpenRecord
from streamwave.spool.keyless import ends_without_key
from streamwave.spool.options import Options
from streamwave.spool.quota import INODE_BYTES, Quota, check_chunk
from streamwave.timing import AAC_FRAME, aac_frame_at_ms, choose_rate, other_rate, round_half_up

#: How far the pictures may be ahead before a chunk stops waiting for its audio and takes silence instead: live, and in a
#: file, where waiting costs nothing.
AUDIO_WAIT_MS, FILE_AUDIO_WAIT_MS = 500, 10_000
#: Broadcasts, and encoders that process their sound, send it a second or two later than its pictures, always. That much
#: longer is waited, up to this in all; once a chunk has waited in vain no longer, until some comes again.
MOST_AUDIO_WAIT_MS = 5000
#: The same where nothing says that there will be any: what comes all the same is sent hardly later than its pictures, and
#: who has nothing but pictures is not to wait for it.
UNAWAITED_WAIT_MS = 200


class SessionWriter:
    """One session. ``origin`` is its first picture in seconds on the source's clock.

    ``relieve`` is called before it waits for its consumer, who may be waiting for the end of the session before.
    """

    def __init__(
        self,
        options: Options,
        journal: JournalWriter,
        info: SourceInfo,
        video: Any,
        *,
        origin: Fraction,
        origin_unix_ms: int,
        audio: AudioTrack | None,
        stop: Event,
        relieve: Callable[[], None],
    ) -> None:
        self.options = options
        self.journal = journal
        self.info = info
        self.origin = origin
        self.origin_unix_ms = origin_unix_ms
        self.audio = audio
        self.rate: Fraction | None = None
        self.chunk: VideoChunk | None = None
        self.closing: deque[tuple[VideoChunk, int, int]] = deque()  # chunk, next_ms, size: they wait for their audio
        self.parameters: VideoParameters | None = None
        self.undecodable = 0
        self._video = video
        self._quota = Quota(self.folder, options.stream_limits)
        self._stop = stop
        self._relieve = relieve
        self._before: tuple[VideoChunk, Timed | None] | None = (
            None  # may still get pictures, once the keyframe is in it
        )
        self._within_ms: int | None = None  # from this picture on, the next chunk, which begins with no keyframe
        self._number = 0
        self._audio_first = 0

    @property
    def folder(self) -> Path:
        """The spool of the session."""
        return self.journal.folder

    @property
    def opened(self) -> bool:
        """Whether the journal has its first record."""
        return self.rate is not None

    def ms(self, at: Fraction) -> int:
        """A time on the source's clock in milliseconds since the origin."""
        return round_half_up((at - self.origin) * 1000)

    @property
    def _track(self) -> Any:
        return self.parameters.stream if self.parameters is not None else self._video

    # --- pictures -----------------------------------------------------------------------------------------------------

    def long_enough(self, at: Fraction) -> bool:
        """Whether the open chunk may end at ``at``."""
        # Ten percent of grace: a keyframe that comes a little early must not double the chunk.
        if self.chunk is None or (self.options.live and self.chunk.key_ms != self.chunk.start_ms):
            return True
        return (self.ms(at) - self.chunk.start_ms) * 10 >= self.options.segment_ms * 9

    def other_rate(self) -> Fraction | None:
        """The rate of the open chunk's pictures if they would be lost on this session's grid."""
        if self.rate is None or self.chunk is None or self.chunk.key_ms != self.chunk.start_ms:
            return None
        return other_rate(self.rate, self.chunk.starts_ms)

    def cut(self, timed: Timed) -> None:
        """Begin a chunk with this keyframe.

        Pictures that follow it but are shown before it (an open GOP, or leading pictures of an IDR) belong to the chunk
        before, which then gets the keyframe too, because they refer to it.
        """
        self._seal()
        self._wait_for_room()
        if self.chunk is not None:
            self._before = (self.chunk, timed)
        extradata = self.parameters.extradata if self.parameters is not None else None
        at_ms = self.ms(timed.shown)
        self.chunk = VideoChunk(self.folder, self._number, self._track, at_ms, extradata)
        self._number += 1
        if self._before is not None:
            # The packet itself goes into the new file.
            self._before = (self._before[0], Timed(_copy(timed.packet), timed.kind, timed.shown, timed.decoded))
        self._write(self.chunk, timed, counted=at_ms >= 0)

    def put(self, timed: Timed) -> None:
        """Add a picture to the chunk that it belongs to."""
        assert self.chunk is not None
        if self._within_ms is not None and self.ms(timed.shown) < self._within_ms:
            self._write(self.chunk, timed)
        elif self.ms(timed.shown) >= self.chunk.start_ms:
            self._seal()
            at_ms = self.ms(timed.shown)
            within = self.options.live and ends_without_key(self.chunk, at_ms, self.options.segment_ms)
            self._write(self.chunk, timed, counted=not within)
            self._within_ms = at_ms if within else None
        elif self._before is not None:
            chunk, key = self._before
            if key is not None:
                self._write(chunk, key, counted=False)
                self._before = (chunk, None)
            self._write(chunk, timed)
        elif self.chunk.key_ms < self.chunk.start_ms:
            self._write(self.chunk, timed, counted=False)  # hidden, but others refer to it
        else:
            self.undecodable += 1  # what it refers to never came

    def _go_on_within(self) -> None:
        """Begin the chunk that has no keyframe of its own. Its first picture is already in the file of the one before."""
        before, at_ms, self._within_ms, self.chunk = self.chunk, self._within_ms, None, None
        assert before is not None
        assert at_ms is not None
        self._close(before, at_ms)
        self._wait_for_room()
        extradata = self.parameters.extradata if self.parameters is not None else None
        self.chunk = VideoChunk(self.folder, self._number, self._track, at_ms, extradata)
        self._number += 1
        self.chunk.lead_from(before)
        self._quota.add(self.chunk.size_bytes)

    def _write(self, chunk: VideoChunk, timed: Timed, *, counted: bool = True) -> None:
        packet = timed.packet
        length = round_half_up((packet.duration or 0) * Fraction(packet.time_base or 0) * 1000)
        size = packet.size
        chunk.write(packet, self.ms(timed.shown), length, counted=counted)
        self._quota.add(size)

    def _seal(self) -> None:
        """No more pictures for the chunk before the open one."""
        if self._before is not None:
            assert self.chunk is not None
            self._close(self._before[0], self.chunk.start_ms)
            self._before = None
        if self._within_ms is not None:
            self._go_on_within()

    def _close(self, chunk: VideoChunk, next_ms: int) -> None:
        """Close a chunk at ``next_ms``; it is journalled as soon as its audio is complete."""
        self.closing.append((chunk, next_ms, chunk.close()))

    def end_at(self, at: Fraction) -> None:
        """Close the open chunk at ``at``: the next picture belongs to another session."""
        self._seal()
        if self.chunk is not None:
            self._close(self.chunk, self.ms(at))
            self.chunk = None

    def give_chunk(self, other: SessionWriter) -> None:
        """Let the open chunk be the first one of ``other``, whose origin is its first picture."""
        self._seal()
        assert self.chunk is not None
        chunk, self.chunk = self.chunk, None
        extradata = other.parameters.extradata if other.parameters is not None else None
        other.chunk = VideoChunk(other.folder, 0, other._track, 0, extradata)
        other._number = 1
        chunk.move_to(other.chunk, chunk.start_ms)

    # --- sound --------------------------------------------------------------------------------------------------------

    def cut_audio_only(self) -> None:
        """Journal all chunks of sound that are complete, where there are no pictures."""
        assert self.audio is not None
        length = max(1, aac_frame_at_ms(self.options.segment_ms, SAMPLE_RATE))
        while self.audio.available - self._audio_first >= length:
            self._wait_for_room()
            self._record_audio_only(self._audio_first + length)

    def _record_audio_only(self, until: int) -> None:
        assert self.audio is not None
        frames = self.audio.take(until)
        first_ms = round_half_up(Fraction(self._audio_first * AAC_FRAME * 1000, SAMPLE_RATE))
        next_ms = round_half_up(Fraction((self._audio_first + len(frames)) * AAC_FRAME * 1000, SAMPLE_RATE))
        name, size = write_audio(self.folder, self._number, frames)
        self._quota.add(size)
        self._open(Fraction(SAMPLE_RATE, AAC_FRAME))  # a grid of AAC frames
        self._append(self._number, None, first_ms, next_ms, (name, len(frames)), size)
        self._number += 1

    def follow(self, timed: Timed) -> None:
        """A packet has come: journal what is complete with it."""
        at = self.origin + Fraction(self.chunk.end_ms, 1000) if self.chunk is not None else None
        if at is not None and timed.kind == "audio" and self.audio is not None:
            self.audio.came(at - timed.shown)
        self.complete(at)

    # --- the journal --------------------------------------------------------------------------------------------------

    def complete(self, newest: Fraction | None = None, *, force: bool = False, last: bool = False) -> bool:
        """Journal the closed chunks whose audio is there, or was waited for long enough; whether none is left.

        ``newest`` is the time of the newest picture. ``last``: the session has ended, so the last chunk gets all audio.
        """
        while self.closing:
            chunk, next_ms, size = self.closing[0]
            name, count = None, 0
            if self.audio is not None:
                until = aac_frame_at_ms(next_ms, SAMPLE_RATE)
                if self.audio.available < until:
                    if not force and (newest is None or self.ms(newest) - next_ms < self._audio_wait_ms(self.audio)):
                        return False
                    self.audio.fill_to(until)
                if last and len(self.closing) == 1:
                    until = max(until, self.audio.available)
                frames = self.audio.take(until)
                count = len(frames)
                if frames:
                    name, audio_size = write_audio(self.folder, chunk.number, frames)
                    size += audio_size
            if not self.opened:
                self.info = examine_file(chunk.path, self.info, self.options.limits.max_pixels)
                self._open(self._choose(chunk))
            self.closing.popleft()
            self._append(chunk.number, chunk, chunk.start_ms, next_ms, (name, count), size)
        return True

    def _audio_wait_ms(self, audio: AudioTrack) -> int:
        if not audio.awaited:
            return UNAWAITED_WAIT_MS
        return min(AUDIO_WAIT_MS + audio.lag_ms, MOST_AUDIO_WAIT_MS) if self.options.live else FILE_AUDIO_WAIT_MS

    def _choose(self, chunk: VideoChunk) -> Fraction:
        assert self.info.video is not None
        return choose_rate(self.info.video.stated_rate, chunk.starts_ms)

    def _open(self, rate: Fraction) -> None:
        if self.opened:
            return
        self.rate = rate
        sample_rate = SAMPLE_RATE if self.audio is not None else None
        self.journal.append(
            OpenRecord(source=self.info, rate=rate, sample_rate=sample_rate, origin_unix_ms=self.origin_unix_ms)
        )

    def _append(
        self,
        number: int,
        chunk: VideoChunk | None,
        start_ms: int,
        next_ms: int,
        audio: tuple[str | None, int],
        size: int,
    ) -> None:
        name, count = audio
        arrived = chunk.last_arrival_unix_ms if chunk is not None else 0
        self.journal.append(
            ChunkLine(
                chunk=ChunkRecord(
                    number=number,
                    video_file=chunk.path.name if chunk is not None else None,
                    start_ms=start_ms,
                    next_ms=next_ms,
                    later_ms=chunk.later_ms if chunk is not None else 0,
                    pictures=len(chunk.starts_ms) if chunk is not None else 0,
                    lead=chunk.lead if chunk is not None else 0,
                    audio_file=name,
                    audio_first=self._audio_first,
                    audio_count=count,
                    size_bytes=size,
                    closed_unix_ms=arrived or time.time_ns() // 1_000_000,
                )
            )
        )
        self._audio_first += count
        self._quota.add(INODE_BYTES)

    def check_limits(self) -> None:
        """Look whether more may be received. What was received so far is whole, and can be finished.

        Raises:
            LimitError: no; the message says what to do.
        """
        if self.options.live and self.chunk is not None:
            since_ms = self.chunk.end_ms - self.chunk.key_ms
            check_chunk(self.chunk.size_bytes, since_ms, self.options.stream_limits)
        self._quota.check()

    def _wait_for_room(self) -> None:
        """Hold a source that can wait while its consumer is behind."""
        if self.options.max_ahead <= 0:
            return
        while not self._stop.is_set() and self._ahead() >= self.options.max_ahead:
            # Whoever makes room waits for the journal; the audio that is missing cannot come meanwhile.
            self._relieve()
            self.complete(force=True)
            time.sleep(0.05)

    def _ahead(self) -> int:
        """Chunks that nobody has taken yet, of this session and of those before it."""
        suffixes = {".aac"} if self._video is None else {f".{suffix}" for suffix in CONTAINERS}
        folder, pattern = (self.folder.parent, "*/*") if self.options.numbered else (self.folder, "*")
        return sum(1 for path in folder.glob(pattern) if path.suffix in suffixes)

    def finish(self) -> None:
        """The source has ended: close the last chunk with all audio that is left."""
        self._seal()
        self.complete()
        if self.chunk is not None:
            if not self.chunk.starts_ms:
                self.chunk.abandon()
                self.chunk = None
                self.complete(force=True, last=True)
                return
            rate = self.rate or self._choose(self.chunk)
            end_ms = round_half_up(max(self.chunk.starts_ms) + 1000 / rate)
            self._close(self.chunk, end_ms)
            self.chunk = None
            if self.audio is not None:
                self.audio.finish(aac_frame_at_ms(end_ms, SAMPLE_RATE))
            self.complete(force=True, last=True)
        elif self._video is not None:
            self.complete(force=True, last=True)
        elif self.audio is not None:
            self.audio.finish()
            if self.audio.available > self._audio_first:
                self._record_audio_only(self.audio.available)

    def advise(self, advisor: Advisor) -> None:
        """Journal what was found since the last time that the publisher could do better."""
        if self.opened:
            for found in advisor.take():
                self.journal.append(AdviceLine(advice=found))

    def end(self, reason: str, error: str | None = None) -> None:
        """Write the journal's last line."""
        if self.audio is not None:
            self.audio.close()
        self.journal.append(EndRecord(reason=reason, error=error, ended_unix_ms=time.time_ns() // 1_000_000))

    def make_room(self) -> None:
        """Drop the chunks that could not be received, so that the journal's last line finds space."""
        before = self._before[0] if self._before is not None else None
        for chunk in (self.chunk, before, *(closed for closed, _, _ in self.closing)):
            if chunk is not None:
                with suppress(OSError):
                    chunk.abandon()


def _copy(packet: Packet[Any]) -> Packet[Any]:
    copy: Packet[Any] = Packet(bytes(packet))
    copy.time_base, copy.duration, copy.is_keyframe = packet.time_base, packet.duration, packet.is_keyframe
    return copy
