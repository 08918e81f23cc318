"""Cuts the pictures of a session into chunks that end at keyframes."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from typing import Any

from av import Packet

from streamwave.receive.back_pressure import BackPressure
from streamwave.receive.boundaries import ends_at
from streamwave.receive.chunk_files import ChunkFiles
from streamwave.receive.chunkfile import VideoChunk
from streamwave.receive.clock import Timed
from streamwave.receive.closed import ClosedChunks
from streamwave.receive.freeze import Freeze
from streamwave.receive.frozen import FrozenPicture
from streamwave.receive.keyless import ends_without_key
from streamwave.receive.pictures import edit_begins_s, is_hidden
from streamwave.timing import other_rate, round_half_up


class PictureChunks:
    """The chunks of one session's pictures. Closed ones go to ``closed``; ``undecodable`` counts pictures left out."""

    def __init__(self, closed: ClosedChunks, files: ChunkFiles, room: BackPressure) -> None:
        self._closed, self._files, self._room = closed, files, room
        self._options = closed.options
        self._freeze = Freeze(closed, files, room)
        self.chunk: VideoChunk | None = None
        self.undecodable = 0
        #: The chunk before the open one may still get pictures, once the keyframe is in it too.
        self._before: tuple[VideoChunk, Timed | None] | None = None
        #: The next chunk, which does not begin with a keyframe, begins at this picture.
        self._within_ms: int | None = None

    @property
    def begun(self) -> bool:
        """Whether the session has had a picture, so that later ones may be of another kind."""
        return self.chunk is not None or self._freeze.picture is not None

    def ends_before(self, timed: Timed) -> bool:
        """Whether the open chunk ends before this keyframe (see ``ends_at``)."""
        return self.chunk is None or ends_at(self.chunk, timed.packet, self._closed.ms(timed.shown), self._options)

    def other_rate(self) -> Fraction | None:
        """The rate of the open chunk's pictures, if some of them would be lost on this session's grid."""
        if self._closed.rate is None or self.chunk is None or self.chunk.hidden_ms != self.chunk.start_ms:
            return None
        return other_rate(self._closed.rate, self.chunk.starts_ms)

    def cut(self, timed: Timed) -> None:
        """Begin a chunk with this keyframe.

        Pictures that follow it but are shown before it (an open GOP, or leading pictures of an IDR) belong to the chunk
        before. That chunk then gets the keyframe too, because they refer to it.
        """
        self._seal()
        self._room.wait()
        at_ms, start_ms, hidden = self._closed.ms(timed.shown), None, is_hidden(timed.packet)
        edit_s = edit_begins_s(timed.packet)
        edit_ms = None if edit_s is None else self._closed.ms(timed.shown + edit_s)
        if self.chunk is not None and not self.chunk.starts_ms:
            start_ms = max(self._drop_open(self.chunk), at_ms if edit_ms is None else edit_ms)
        if self._freeze.picture is not None:
            if not hidden:  # the time of a hidden picture is outside this session, and may be anywhere
                self._freeze.extend_to(self._freeze.picture, at_ms, self.chunk)
            start_ms = self._freeze.picture.until_ms
        elif self.chunk is not None and edit_ms is not None:
            start_ms = self._close_open(self.chunk, edit_ms)
        elif self.chunk is not None and (hidden or self.chunk.hides_more):
            start_ms = self._close_open(self.chunk, self._closed.end_ms(self.chunk) if hidden else at_ms)
        elif self.chunk is not None:
            # The packet itself goes into the new file.
            self._before = (self.chunk, Timed(_copy(timed.packet), timed.kind, timed.shown, timed.decoded))
        self.chunk = self._files.open(at_ms, start_ms=start_ms)
        self._write(self.chunk, timed, counted=at_ms >= self.chunk.start_ms and not hidden)

    def put(self, timed: Timed) -> None:
        """Add a picture to the chunk that it belongs to."""
        at_ms, hidden = self._closed.ms(timed.shown), is_hidden(timed.packet)
        if self._freeze.picture is not None:
            if not hidden:
                self._freeze.extend_to(self._freeze.picture, at_ms, self.chunk)
            if self.chunk is None:
                self.chunk = self._after(self._freeze.picture)
        assert self.chunk is not None
        if self._within_ms is not None and at_ms < self._within_ms:
            self._write(self.chunk, timed)
        elif at_ms >= self.chunk.start_ms:
            self._seal()
            within = self._options.live and ends_without_key(self.chunk, at_ms, self._options.segment_ms)
            self._write(self.chunk, timed, counted=not within and not hidden)
            self._within_ms = at_ms if within else None
        elif self._before is not None and not hidden:
            chunk, key = self._before
            if key is not None:
                self._write(chunk, key, counted=False)
                self._before = (chunk, None)
            self._write(chunk, timed)
        elif self.chunk.key_ms < self.chunk.start_ms or hidden:
            self._write(self.chunk, timed, counted=False)  # other pictures refer to it
        else:
            self.undecodable += 1  # the pictures that it refers to never came

    def seen(self) -> None:
        """A picture has come, whether or not it can be shown."""
        self._freeze.seen()

    def hold(self, at_ms: int) -> None:
        """Live audio has come: freeze the last picture up to ``at_ms`` if no other has come for long."""
        if self.chunk is not None and self._freeze.is_due(self.chunk, at_ms):
            self._freeze_last(self.chunk, min(at_ms, self.chunk.start_ms + self._options.segment_ms))
        self._freeze.follow(at_ms, self.chunk)

    def end_at(self, at: Fraction) -> None:
        """Close the open chunk at ``at``: the next picture belongs to another session."""
        self._seal()
        if self.chunk is not None and not self.chunk.starts_ms:
            self._drop_open(self.chunk)
        elif self.chunk is not None:
            self._close_open(self.chunk, self._closed.ms(at))
        self._freeze.end_at(self._closed.ms(at), self.chunk)

    def give_chunk(self, other: PictureChunks) -> None:
        """Let the open chunk be the first one of ``other``, whose origin is the chunk's first picture."""
        self._seal()
        assert self.chunk is not None
        chunk, self.chunk = self.chunk, None
        other.chunk = other._files.open(0)
        chunk.move_to(other.chunk, chunk.start_ms)

    def last(self) -> VideoChunk | None:
        """The chunk with the session's last picture, after pictures that came too late were dropped; None without pictures."""
        self._seal()
        if self.chunk is not None and not self.chunk.starts_ms:
            self._drop_open(self.chunk)
        if self.chunk is not None:
            return self.chunk
        return self._freeze.picture.before if self._freeze.picture is not None else None

    def last_end_ms(self, last: VideoChunk) -> int:
        """When the last picture, which is in ``last``, has been shown as long as any other, or as it was frozen."""
        return self._freeze.picture.until_ms if self._freeze.picture is not None else self._closed.end_ms(last)

    def finish(self, own_ms: int, end_ms: int) -> None:
        """Close the last chunk. Its last picture, which ends at ``own_ms``, is frozen up to ``end_ms`` if that is later."""
        chunk, usual_ms = self.chunk, self._options.segment_ms
        if chunk is not None and (end_ms == own_ms or (end_ms - max(own_ms, chunk.start_ms + usual_ms)) * 2 < usual_ms):
            self._close_open(chunk, end_ms)
            return
        if chunk is not None:
            self._freeze_last(chunk, chunk.start_ms + usual_ms)
        self._freeze.end_at(end_ms, self.chunk)

    def abandon(self) -> None:
        """Remove the files of chunks that are not closed."""
        self._freeze.end()
        for chunk in (self.chunk, self._before[0] if self._before is not None else None):
            if chunk is not None:
                with suppress(OSError):
                    chunk.abandon()

    def _write(self, chunk: VideoChunk, timed: Timed, *, counted: bool = True) -> None:
        packet = timed.packet
        length = round_half_up((packet.duration or 0) * Fraction(packet.time_base or 0) * 1000)
        size = packet.size
        chunk.write(packet, self._closed.ms(timed.shown), length, counted=counted)
        self._closed.quota.add(size)
        if counted:
            self._freeze.end()

    def _seal(self) -> None:
        """No more pictures can come for the chunk before the open one."""
        if self._before is not None:
            assert self.chunk is not None
            self._close(self._before[0], self.chunk.start_ms)
            self._before = None
        if self._within_ms is not None:
            assert self.chunk is not None
            before, at_ms, self._within_ms, self.chunk = self.chunk, self._within_ms, None, None
            self.chunk = self._without_key(before, at_ms)

    def _without_key(self, before: VideoChunk, at_ms: int) -> VideoChunk:
        """Begin the chunk that has no keyframe of its own. Its first picture is already in the file of ``before``."""
        self._close(before, at_ms)
        self._room.wait()
        chunk = self._files.open(at_ms)
        chunk.lead_from(before)
        self._closed.quota.add(chunk.size_bytes)
        return chunk

    def _after(self, picture: FrozenPicture) -> VideoChunk:
        """Begin the chunk after a frozen picture with a picture that is not a keyframe."""
        before, start_ms = picture.before, picture.until_ms
        chunk = self._files.open(before.key_ms, start_ms=start_ms)
        chunk.lead_from(before, picture.path)
        self._closed.quota.add(chunk.size_bytes)
        # No keyframe was due while the picture was frozen.
        chunk.key_ms = start_ms - max(1, max(before.starts_ms) - before.key_ms)
        return chunk

    def _close(self, chunk: VideoChunk, next_ms: int) -> None:
        """Close a chunk at ``next_ms``; it is journalled as soon as its audio is complete."""
        self._closed.closing.append((chunk, next_ms, chunk.close()))

    def _close_open(self, chunk: VideoChunk, next_ms: int) -> int:
        """Close the open chunk, whose last picture is shown up to ``next_ms``; when the next chunk begins."""
        next_ms = max(next_ms, max(chunk.starts_ms) + 1)
        if chunk.hides_more and next_ms > self._closed.end_ms(chunk):
            picture = self._freeze_last(chunk, next_ms)
            self._freeze.end_at(next_ms, self.chunk)
            return picture.until_ms
        self._close(chunk, next_ms)
        self.chunk = None
        return next_ms

    def _freeze_last(self, chunk: VideoChunk, until_ms: int) -> FrozenPicture:
        """Close the open chunk at ``until_ms`` and freeze its last picture (see ``Freeze.begin``)."""
        self._seal()
        chunk, self.chunk = self.chunk or chunk, None
        return self._freeze.begin(chunk, until_ms)

    def _drop_open(self, chunk: VideoChunk) -> int:
        """Drop the open chunk, which has no picture that is shown; when it begins."""
        self._files.drop(chunk)
        self.chunk = None
        return chunk.start_ms


def _copy(packet: Packet[Any]) -> Packet[Any]:
    copy: Packet[Any] = Packet(bytes(packet))
    copy.time_base, copy.duration, copy.is_keyframe = packet.time_base, packet.duration, packet.is_keyframe
    return copy
