"""Writes one session into its spool: chunks that end at keyframes, each with the audio that belongs to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from threading import Event
from typing import Any

from av import Packet

from streamwave.model import CONTAINERS, SourceInfo
from streamwave.receive.audio import SAMPLE_RATE, AudioTrack
from streamwave.receive.changes import VideoParameters
from streamwave.receive.chunkfile import VideoChunk
from streamwave.receive.clock import Timed
from streamwave.receive.closed import ClosedChunks
from streamwave.receive.keyless import PIECE_SHARE, ends_without_key
from streamwave.receive.pictures import edit_begins_s, is_hidden
from streamwave.receive.standing import Standing
from streamwave.spool.journal import JournalWriter
from streamwave.spool.options import Options
from streamwave.spool.quota import check_chunk
from streamwave.timing import Grid, aac_frame_at_ms, other_rate, round_half_up

#: For so long no picture may have come to a live source whose sound goes on, by the source's clock and by ours; the last one
#: then stands still until the next one, because players wait for pictures for ever.
PICTURES_AWAITED_MS, PICTURES_UNSEEN_S = 3000, 3.0
#: It is published up to so long before the newest sound, should a picture come that was sent a little later than that.
PICTURES_BEHIND_MS = 500
#: Sound that ends later than its pictures by this much ends with them, as far as viewers can tell.
UNEVEN_MS = 200


class SessionWriter(ClosedChunks):
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
        super().__init__(options, journal, info, origin=origin, origin_unix_ms=origin_unix_ms, audio=audio)
        self.chunk: VideoChunk | None = None
        self.parameters: VideoParameters | None = None
        self.undecodable = 0
        self._video = video
        self._stop = stop
        self._relieve = relieve
        # May still get pictures, once the keyframe is in it.
        self._before: tuple[VideoChunk, Timed | None] | None = None
        self._within_ms: int | None = None  # from this picture on, the next chunk, which begins with no keyframe
        self._number = 0
        self._standing: Standing | None = None  # the last picture, while no other comes
        self._pictured_s = time.monotonic()

    @property
    def has_pictures(self) -> bool:
        """Whether the session has had a picture, so that what follows may be of another kind."""
        return self.chunk is not None or self._standing is not None

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

    def ends_before(self, timed: Timed) -> bool:
        """Whether the open chunk ends before this keyframe: it is long enough, or the keyframe belongs to another edit, while
        the chunk's file holds, or would hold, hidden pictures at the time of shown ones."""
        if self.chunk is None or edit_begins_s(timed.packet) is not None:
            return True
        hides = self.chunk.hidden_ms >= self.ms(timed.shown)
        return not is_hidden(timed.packet) and (hides or self.long_enough(timed.shown))

    def other_rate(self) -> Fraction | None:
        """The rate of the open chunk's pictures if they would be lost on this session's grid."""
        if self.rate is None or self.chunk is None or self.chunk.hidden_ms != self.chunk.start_ms:
            return None
        return other_rate(self.rate, self.chunk.starts_ms)

    def cut(self, timed: Timed) -> None:
        """Begin a chunk with this keyframe.

        Pictures that follow it but are shown before it (an open GOP, or leading pictures of an IDR) belong to the chunk
        before, which then gets the keyframe too, because they refer to it.
        """
        self._seal()
        self._wait_for_room()
        extradata = self.parameters.extradata if self.parameters is not None else None
        at_ms, start_ms, hidden = self.ms(timed.shown), None, is_hidden(timed.packet)
        edit_ms = None if (later_s := edit_begins_s(timed.packet)) is None else self.ms(timed.shown + later_s)
        if self.chunk is not None and not self.chunk.starts_ms:
            start_ms = max(self._drop_open(self.chunk), at_ms if edit_ms is None else edit_ms)
        if self._standing is not None:
            if not hidden:  # the time of a hidden picture is none of this session, and may be anywhere
                self._stand_to(self._standing, at_ms)
            start_ms = self._standing.until_ms
        elif self.chunk is not None and edit_ms is not None:
            start_ms = self._close_open(self.chunk, edit_ms)
        elif self.chunk is not None and (hidden or self.chunk.hides_more):
            start_ms = self._close_open(self.chunk, self._end_ms(self.chunk) if hidden else at_ms)
        elif self.chunk is not None:
            # The packet itself goes into the new file.
            self._before = (self.chunk, Timed(_copy(timed.packet), timed.kind, timed.shown, timed.decoded))
        self.chunk = VideoChunk(self.folder, self._number, self._track, at_ms, extradata, start_ms=start_ms)
        self._number += 1
        self._write(self.chunk, timed, counted=at_ms >= self.chunk.start_ms and not hidden)

    def put(self, timed: Timed) -> None:
        """Add a picture to the chunk that it belongs to."""
        if self._standing is not None:
            if not is_hidden(timed.packet):
                self._stand_to(self._standing, self.ms(timed.shown))
            if self.chunk is None:
                self._go_on(self._standing)
        assert self.chunk is not None
        if self._within_ms is not None and self.ms(timed.shown) < self._within_ms:
            self._write(self.chunk, timed)
        elif self.ms(timed.shown) >= self.chunk.start_ms:
            self._seal()
            at_ms = self.ms(timed.shown)
            within = self.options.live and ends_without_key(self.chunk, at_ms, self.options.segment_ms)
            self._write(self.chunk, timed, counted=not within and not is_hidden(timed.packet))
            self._within_ms = at_ms if within else None
        elif self._before is not None and not is_hidden(timed.packet):
            chunk, key = self._before
            if key is not None:
                self._write(chunk, key, counted=False)
                self._before = (chunk, None)
            self._write(chunk, timed)
        elif self.chunk.key_ms < self.chunk.start_ms or is_hidden(timed.packet):
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
        if counted and self._standing is not None:
            self._standing.end()
            self._standing = None

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

    def _close_open(self, chunk: VideoChunk, next_ms: int) -> int:
        """Close the open chunk, whose last picture is shown up to ``next_ms``; when the next chunk begins."""
        next_ms = max(next_ms, max(chunk.starts_ms) + 1)
        if chunk.hides_more and next_ms > self._end_ms(chunk):
            standing = self._stand(next_ms)
            self._end_standing(next_ms)
            return standing.until_ms
        self._close(chunk, next_ms)
        self.chunk = None
        return next_ms

    def _drop_open(self, chunk: VideoChunk) -> int:
        """Drop the open chunk, which has no picture that is to be shown; when it begins."""
        chunk.abandon()
        self.chunk, self._number = None, chunk.number
        return chunk.start_ms

    def end_at(self, at: Fraction) -> None:
        """Close the open chunk at ``at``: the next picture belongs to another session."""
        self._seal()
        if self.chunk is not None and not self.chunk.starts_ms:
            self._drop_open(self.chunk)
        elif self.chunk is not None:
            self._close_open(self.chunk, self.ms(at))
        self._end_standing(self.ms(at))

    def give_chunk(self, other: SessionWriter) -> None:
        """Let the open chunk be the first one of ``other``, whose origin is its first picture."""
        self._seal()
        assert self.chunk is not None
        chunk, self.chunk = self.chunk, None
        extradata = other.parameters.extradata if other.parameters is not None else None
        other.chunk = VideoChunk(other.folder, 0, other._track, 0, extradata)
        other._number = 1
        chunk.move_to(other.chunk, chunk.start_ms)

    # --- a picture that stands still --------------------------------------------------------------------------------------

    def _hold(self, at_ms: int) -> None:
        """Live sound has come: let the last picture stand still up to there if no other has come for long.

        While others come, even too late to be shown, do not publish more of it: they may be late for good.
        """
        if time.monotonic() - self._pictured_s < PICTURES_UNSEEN_S:
            return
        if self._standing is None:
            if self.chunk is None or not self.chunk.starts_ms or at_ms - self.chunk.end_ms < PICTURES_AWAITED_MS:
                return
            # The next picture may need a copy of all since the keyframe.
            if at_ms - self.chunk.start_ms < (self.chunk.start_ms - self.chunk.key_ms) * PIECE_SHARE:
                return
            self._stand(min(at_ms, self.chunk.start_ms + self.options.segment_ms))
        usual_ms = self.options.segment_ms + PICTURES_BEHIND_MS
        while self._standing is not None and at_ms - self._standing.until_ms >= usual_ms:
            self._stand_on(self._standing, self._standing.until_ms + self.options.segment_ms)

    def _stand(self, until_ms: int) -> Standing:
        """Close the open chunk at ``until_ms``, or when its last picture ends if that is later or hidden ones follow it. That
        picture stands still from there on."""
        self._seal()
        assert self.chunk is not None
        chunk, self.chunk = self.chunk, None
        until_ms = max(chunk.start_ms if chunk.hides_more else until_ms, self._end_ms(chunk))
        size = chunk.close()
        self._standing = Standing(chunk, until_ms)  # before it is journalled: who reads that may remove the file
        self.closing.append((chunk, until_ms, size))
        return self._standing

    def _stand_on(self, standing: Standing, until_ms: int) -> None:
        """Another chunk with the picture that stands still."""
        self._wait_for_room()
        number, self._number = self._number, self._number + 1
        if self.chunk is not None:  # so far it has but pictures that came too late to be shown
            number = self.chunk.number
            self.chunk.put_off(number + 1, until_ms)
        chunk = standing.chunk(number, until_ms)
        size = chunk.path.stat().st_size
        self._quota.add(size)  # which it counts for there, although the file is there once
        self.closing.append((chunk, until_ms, size))

    def _stand_to(self, standing: Standing, end_ms: int) -> None:
        """Let the picture stand still up to ``end_ms``, in chunks of the usual length, none of them much shorter."""
        grid, usual_ms = Grid(self._rate_with(standing.before)), self.options.segment_ms
        while grid.frame_at_ms(end_ms) > grid.frame_at_ms(standing.until_ms):
            left_ms = end_ms - standing.until_ms
            self._stand_on(standing, end_ms if left_ms * 2 < usual_ms * 3 else standing.until_ms + usual_ms)

    def _end_standing(self, at_ms: int) -> None:
        """The picture that stands still, if there is one, does so up to ``at_ms`` and no longer."""
        standing, self._standing = self._standing, None
        if standing is not None:
            self._stand_to(standing, at_ms)
            standing.end()

    def _go_on(self, standing: Standing) -> None:
        """Begin the chunk of a picture that is no keyframe after one that stood still."""
        before, start_ms = standing.before, standing.until_ms
        extradata = self.parameters.extradata if self.parameters is not None else None
        self.chunk = VideoChunk(self.folder, self._number, self._track, before.key_ms, extradata, start_ms=start_ms)
        self._number += 1
        self.chunk.lead_from(before, standing.path)
        self._quota.add(self.chunk.size_bytes)
        # While it stood still no keyframe was to be expected.
        self.chunk.key_ms = start_ms - max(1, max(before.starts_ms) - before.key_ms)

    def _finish_pictures(self) -> None:
        """Close the last chunk; the last picture stands still for as long as there is sound."""
        chunk, usual_ms = self.chunk, self.options.segment_ms
        last = chunk if chunk is not None else self._standing.before if self._standing is not None else None
        if last is None:
            return
        own_ms = end_ms = self._end_ms(last) if self._standing is None else self._standing.until_ms
        if self.audio is not None:
            heard_ms = self.audio.settle()
            if heard_ms - own_ms > UNEVEN_MS:
                rate = self._rate_with(last)
                end_ms = round_half_up(-(-heard_ms * rate // 1000) * 1000 / rate)
            self.audio.finish(aac_frame_at_ms(end_ms, SAMPLE_RATE))
        if chunk is not None and (end_ms == own_ms or (end_ms - max(own_ms, chunk.start_ms + usual_ms)) * 2 < usual_ms):
            self._close_open(chunk, end_ms)
            return
        if chunk is not None:
            self._stand(chunk.start_ms + usual_ms)
        self._end_standing(end_ms)

    # --- sound --------------------------------------------------------------------------------------------------------

    def _close_audio(self, until: int) -> None:
        self._append_audio(self._number, until)
        self._number += 1

    def cut_audio_only(self) -> None:
        """Journal all chunks of sound that are complete, where there are no pictures."""
        assert self.audio is not None
        length = max(1, aac_frame_at_ms(self.options.segment_ms, SAMPLE_RATE))
        while self.audio.available - self._audio_first >= length:
            self._wait_for_room()
            self._close_audio(self._audio_first + length)

    def follow(self, timed: Timed) -> None:
        """A packet has come: journal what is complete with it."""
        if timed.kind == "video":
            self._pictured_s = time.monotonic()
        elif self.options.live and self._video is not None and not is_hidden(timed.packet):
            self._hold(self.ms(timed.shown))
        at = self.origin + Fraction(self.chunk.end_ms, 1000) if self.chunk is not None else None
        if at is not None and timed.kind == "audio" and self.audio is not None:
            self.audio.came(at - timed.shown)
        self.complete(at)

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
        if self.chunk is not None and not self.chunk.starts_ms:
            self._drop_open(self.chunk)
        if self._video is not None:
            self._finish_pictures()
            self.complete(force=True, last=True)
        elif self.audio is not None:
            self.audio.finish()
            if self.audio.available > self._audio_first:
                self._close_audio(self.audio.available)

    def make_room(self) -> None:
        """Drop the chunks that could not be received, so that the journal's last line finds space."""
        before = self._before[0] if self._before is not None else None
        if self._standing is not None:
            self._standing.end()
        for chunk in (self.chunk, before, *(closed for closed, _, _ in self.closing)):
            if chunk is not None:
                with suppress(OSError):
                    chunk.abandon()


def _copy(packet: Packet[Any]) -> Packet[Any]:
    copy: Packet[Any] = Packet(bytes(packet))
    copy.time_base, copy.duration, copy.is_keyframe = packet.time_base, packet.duration, packet.is_keyframe
    return copy
