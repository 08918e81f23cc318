"""Journals the closed chunks of one session, each as soon as its audio is complete."""

from __future__ import annotations

import time
from collections import deque
from fractions import Fraction
from pathlib import Path

from streamwave.ffmpeg.examine import examine_file
from streamwave.model import ChunkRecord, SourceInfo
from streamwave.receive.advisor import Advisor
from streamwave.receive.audio import AudioTrack
from streamwave.receive.chunkfile import VideoChunk, write_audio
from streamwave.receive.frozen import FrozenChunk
from streamwave.receive.samples import SAMPLE_RATE
from streamwave.spool.advice import rate_capped
from streamwave.spool.journal import AdviceLine, ChunkLine, EndRecord, JournalWriter, OpenRecord
from streamwave.spool.options import Options
from streamwave.spool.quota import INODE_BYTES, Quota
from streamwave.timing import AAC_FRAME, aac_frame_at_ms, choose_rate, round_half_up, thinned

#: How far the pictures may be ahead before a chunk stops waiting for its audio and gets silence instead: live, and in a
#: file, where waiting costs nothing.
AUDIO_WAIT_MS, FILE_AUDIO_WAIT_MS = 500, 10_000
#: TV broadcasts, and encoders that process audio, always send it a second or two after its pictures. A chunk waits that much
#: longer, up to this in total; once a chunk has waited in vain, the next ones do not, until audio comes again.
MOST_AUDIO_WAIT_MS = 5000
#: The same where no audio is announced: if it comes nevertheless, it is sent together with its pictures, and a source that has
#: only pictures must not be delayed.
UNAWAITED_WAIT_MS = 200


class ClosedChunks:
    """The closed chunks of a session. ``origin`` is its first picture in seconds on the source's clock."""

    def __init__(
        self,
        options: Options,
        journal: JournalWriter,
        info: SourceInfo,
        *,
        origin: Fraction,
        origin_unix_ms: int,
        audio: AudioTrack | None,
    ) -> None:
        self.options = options
        self.journal = journal
        self.info = info
        self.origin = origin
        self.origin_unix_ms = origin_unix_ms
        self.audio = audio
        self.rate: Fraction | None = None
        self._thinned: Fraction | None = None  # the source's rate, if the grid cannot have it
        self.closing: deque[tuple[VideoChunk | FrozenChunk, int, int]] = deque()  # chunk, next_ms, size
        self.audio_first = 0
        self.quota = Quota(self.folder, options.stream_limits)

    @property
    def folder(self) -> Path:
        """The folder of the session in the spool."""
        return self.journal.folder

    @property
    def opened(self) -> bool:
        """Whether the journal has its first record."""
        return self.rate is not None

    def ms(self, at: Fraction) -> int:
        """A time on the source's clock in milliseconds since the origin."""
        return round_half_up((at - self.origin) * 1000)

    def complete(self, newest: Fraction | None = None, *, force: bool = False, last: bool = False) -> bool:
        """Journal the closed chunks whose audio has come, or has been waited for long enough; whether none is left.

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
                rate = self.rate_with(chunk)
                self._thinned = thinned(rate, chunk.starts_ms)
                self._open(rate)
            self.closing.popleft()
            self._append(chunk.number, chunk, chunk.start_ms, next_ms, (name, count), size)
        return True

    def _audio_wait_ms(self, audio: AudioTrack) -> int:
        if not audio.awaited:
            return UNAWAITED_WAIT_MS
        return min(AUDIO_WAIT_MS + audio.lag_ms, MOST_AUDIO_WAIT_MS) if self.options.live else FILE_AUDIO_WAIT_MS

    def end_ms(self, chunk: VideoChunk) -> int:
        """When the last picture of ``chunk`` has been shown as long as any other."""
        return round_half_up(max(chunk.starts_ms) + 1000 / self.rate_with(chunk))

    def rate_with(self, first: VideoChunk | FrozenChunk) -> Fraction:
        """The rate of the session's grid; if it is not chosen yet, the rate with ``first`` as the first chunk."""
        if self.rate is not None:
            return self.rate
        assert self.info.video is not None
        return choose_rate(self.info.video.stated_rate, first.starts_ms)

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
        chunk: VideoChunk | FrozenChunk | None,
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
                    held=chunk.held if isinstance(chunk, FrozenChunk) else None,
                    pictures=len(chunk.starts_ms) if chunk is not None else 0,
                    lead=chunk.lead if chunk is not None else 0,
                    audio_file=name,
                    audio_first=self.audio_first,
                    audio_count=count,
                    size_bytes=size,
                    closed_unix_ms=arrived or time.time_ns() // 1_000_000,
                )
            )
        )
        self.audio_first += count
        self.quota.add(INODE_BYTES)

    def append_audio(self, number: int, until: int) -> None:
        """Journal a chunk of a session without pictures: the audio before the frame ``until``."""
        assert self.audio is not None
        frames = self.audio.take(until)
        first_ms = round_half_up(Fraction(self.audio_first * AAC_FRAME * 1000, SAMPLE_RATE))
        next_ms = round_half_up(Fraction((self.audio_first + len(frames)) * AAC_FRAME * 1000, SAMPLE_RATE))
        name, size = write_audio(self.folder, number, frames)
        self.quota.add(size)
        self._open(Fraction(SAMPLE_RATE, AAC_FRAME))  # a grid of AAC frames
        self._append(number, None, first_ms, next_ms, (name, len(frames)), size)

    def advise(self, advisor: Advisor) -> None:
        """Journal the advice for the publisher that is new."""
        if self.opened:
            if self._thinned is not None and self.rate is not None:
                advisor.say(rate_capped(self._thinned, self.rate, live=self.options.live))
            for found in advisor.take():
                self.journal.append(AdviceLine(advice=found))

    def end(self, reason: str, error: str | None = None) -> None:
        """Write the journal's last line."""
        if self.audio is not None:
            self.audio.close()
        self.journal.append(EndRecord(reason=reason, error=error, ended_unix_ms=time.time_ns() // 1_000_000))
