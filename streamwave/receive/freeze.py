"""Freezing the last picture of a session while only audio comes, because players wait for pictures for ever."""

from __future__ import annotations

import time

from streamwave.receive.back_pressure import BackPressure
from streamwave.receive.chunk_files import ChunkFiles
from streamwave.receive.chunkfile import VideoChunk
from streamwave.receive.closed import ClosedChunks
from streamwave.receive.frozen import FrozenPicture
from streamwave.receive.keyless import PIECE_SHARE
from streamwave.timing import Grid

#: The last picture of a live source is frozen when none has come for this long, by the source's clock and by ours, although
#: audio goes on.
PICTURES_AWAITED_MS, PICTURES_UNSEEN_S = 3000, 3.0
#: It is published up to this long before the newest audio, in case a picture comes that was sent a little later than that.
PICTURES_BEHIND_MS = 500


class Freeze:
    """``picture`` is the frozen one, while there is one. Its chunks go to ``closed``.

    ``opened`` is, in all methods, the session's open chunk or None. While a picture is frozen, an open chunk only has pictures
    that came too late to be shown; it becomes the chunk after those of the frozen picture.
    """

    def __init__(self, closed: ClosedChunks, files: ChunkFiles, room: BackPressure) -> None:
        self._closed, self._files, self._room = closed, files, room
        self.picture: FrozenPicture | None = None
        self._seen_s = time.monotonic()

    def seen(self) -> None:
        """A picture has come, whether or not it can be shown."""
        self._seen_s = time.monotonic()

    @property
    def _may_publish(self) -> bool:
        # While pictures come, even too late to be shown, the frozen one is not published: all of them may be late.
        return time.monotonic() - self._seen_s >= PICTURES_UNSEEN_S

    def is_due(self, opened: VideoChunk, at_ms: int) -> bool:
        """Whether to freeze the last picture of the open chunk, now that live audio has come at ``at_ms``."""
        if self.picture is not None or not opened.starts_ms or not self._may_publish:
            return False
        # The next picture may need a copy of everything since the keyframe.
        copied_ms = opened.start_ms - opened.key_ms
        return at_ms - opened.end_ms >= PICTURES_AWAITED_MS and at_ms - opened.start_ms >= copied_ms * PIECE_SHARE

    def follow(self, at_ms: int, opened: VideoChunk | None) -> None:
        """Show the frozen picture, if there is one, nearly up to live audio at ``at_ms``."""
        segment_ms = self._closed.options.segment_ms
        while (
            self.picture is not None
            and self._may_publish
            and at_ms - self.picture.until_ms >= segment_ms + PICTURES_BEHIND_MS
        ):
            self.extend(self.picture, self.picture.until_ms + segment_ms, opened)

    def begin(self, chunk: VideoChunk, until_ms: int) -> FrozenPicture:
        """Close ``chunk`` at ``until_ms`` and freeze its last picture from there on.

        It is closed when that picture ends, if that is later, or if hidden pictures follow it in the file.
        """
        until_ms = max(chunk.start_ms if chunk.hides_more else until_ms, self._closed.end_ms(chunk))
        size = chunk.close()
        # Before the chunk is journalled, because the consumer may then remove its file.
        self.picture = FrozenPicture(chunk, until_ms)
        self._closed.closing.append((chunk, until_ms, size))
        return self.picture

    def extend(self, picture: FrozenPicture, until_ms: int, opened: VideoChunk | None) -> None:
        """Add one chunk with ``picture``, up to ``until_ms``."""
        self._room.wait()
        number = self._files.take()
        if opened is not None:
            number = opened.number
            opened.put_off(number + 1, until_ms)
        chunk = picture.chunk(number, until_ms)
        size = chunk.path.stat().st_size
        self._closed.quota.add(size)  # the quota counts every hard link to the file
        self._closed.closing.append((chunk, until_ms, size))

    def extend_to(self, picture: FrozenPicture, end_ms: int, opened: VideoChunk | None) -> None:
        """Show ``picture`` up to ``end_ms``, in chunks of the usual length, none of them much shorter."""
        grid, usual_ms = Grid(self._closed.rate_with(picture.before)), self._closed.options.segment_ms
        while grid.frame_at_ms(end_ms) > grid.frame_at_ms(picture.until_ms):
            left_ms = end_ms - picture.until_ms
            self.extend(picture, end_ms if left_ms * 2 < usual_ms * 3 else picture.until_ms + usual_ms, opened)

    def end_at(self, at_ms: int, opened: VideoChunk | None) -> None:
        """Show the frozen picture, if there is one, up to ``at_ms`` and no longer."""
        picture, self.picture = self.picture, None
        if picture is not None:
            self.extend_to(picture, at_ms, opened)
            picture.end()

    def end(self) -> None:
        """Thaw: another picture has been written, or none can be."""
        if self.picture is not None:
            self.picture.end()
            self.picture = None
