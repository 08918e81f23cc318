"""Writes one session into its spool: chunks of pictures, each with the audio that belongs to it, or chunks of audio alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from threading import Event
from typing import Any

from streamwave.model import SourceInfo
from streamwave.receive.audio import AudioTrack
from streamwave.receive.back_pressure import BackPressure
from streamwave.receive.changes import VideoParameters
from streamwave.receive.chunk_files import ChunkFiles
from streamwave.receive.clock import Timed
from streamwave.receive.closed import ClosedChunks
from streamwave.receive.picture_chunks import PictureChunks
from streamwave.receive.pictures import is_hidden
from streamwave.receive.samples import SAMPLE_RATE
from streamwave.spool.journal import JournalWriter
from streamwave.spool.options import Options
from streamwave.spool.quota import check_chunk
from streamwave.timing import aac_frame_at_ms, round_half_up

#: Audio that ends this much later than the pictures, or less, ends together with them, as far as viewers can tell.
UNEVEN_MS = 200


class SessionWriter(ClosedChunks):
    """One session. ``origin`` is its first picture in seconds on the source's clock; ``video`` is the video track or None.

    ``relieve`` is called before the writer waits for its consumer, who may be waiting for the end of the session before.
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
        parameters: VideoParameters | None,
        stop: Event,
        relieve: Callable[[], None],
    ) -> None:
        super().__init__(options, journal, info, origin=origin, origin_unix_ms=origin_unix_ms, audio=audio)
        self.parameters = parameters
        self._has_video = video is not None

        def complete_all() -> None:
            # The consumer waits for the journal, and audio that is missing cannot come while the source is held.
            relieve()
            self.complete(force=True)

        self._room = BackPressure(self.folder, options, has_video=self._has_video, stop=stop, relieve=complete_all)
        self._files = ChunkFiles(self.folder, video, parameters)
        self.pictures = PictureChunks(self, self._files, self._room)

    def cut_audio_only(self) -> None:
        """Journal all complete chunks of a session without pictures."""
        assert self.audio is not None
        length = max(1, aac_frame_at_ms(self.options.segment_ms, SAMPLE_RATE))
        while self.audio.available - self.audio_first >= length:
            self._room.wait()
            self.append_audio(self._files.take(), self.audio_first + length)

    def follow(self, timed: Timed) -> None:
        """A packet has come: journal the chunks that are complete with it."""
        if timed.kind == "video":
            self.pictures.seen()
        elif self.options.live and self._has_video and not is_hidden(timed.packet):
            self.pictures.hold(self.ms(timed.shown))
        chunk = self.pictures.chunk
        at = self.origin + Fraction(chunk.end_ms, 1000) if chunk is not None else None
        if at is not None and timed.kind == "audio" and self.audio is not None:
            self.audio.came(at - timed.shown)
        self.complete(at)

    def check_limits(self) -> None:
        """Check whether more may be received. Whatever was received so far is whole, and can be finished.

        Raises:
            LimitError: a limit is reached; the message says what to do.
        """
        chunk = self.pictures.chunk
        if self.options.live and chunk is not None:
            check_chunk(chunk.size_bytes, chunk.end_ms - chunk.key_ms, self.options.stream_limits)
        self.quota.check()

    def finish(self) -> None:
        """The source has ended: close the last chunk with all audio that is left."""
        if self._has_video:
            self._finish_pictures()
            self.complete(force=True, last=True)
        elif self.audio is not None:
            self.audio.finish()
            if self.audio.available > self.audio_first:
                self.append_audio(self._files.take(), self.audio.available)

    def _finish_pictures(self) -> None:
        """Close the last chunk; the last picture is frozen for as long as there is audio."""
        last = self.pictures.last()
        self.complete()
        if last is None:
            return
        own_ms = end_ms = self.pictures.last_end_ms(last)
        if self.audio is not None:
            heard_ms = self.audio.settle()
            if heard_ms - own_ms > UNEVEN_MS:
                rate = self.rate_with(last)
                end_ms = round_half_up(-(-heard_ms * rate // 1000) * 1000 / rate)
            self.audio.finish(aac_frame_at_ms(end_ms, SAMPLE_RATE))
        self.pictures.finish(own_ms, end_ms)

    def make_room(self) -> None:
        """Remove the chunks that could not be received completely, so that the journal's last line finds space."""
        self.pictures.abandon()
        for closed, _, _ in self.closing:
            with suppress(OSError):
                closed.abandon()
