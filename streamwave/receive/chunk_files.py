"""The files of a session's chunks, numbered from 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamwave.receive.changes import VideoParameters
from streamwave.receive.chunkfile import VideoChunk


class ChunkFiles:
    """Opens the files of chunks in ``folder``. ``number`` is that of the next chunk.

    ``video`` is the session's video track or None; ``parameters`` follow it, also when another track takes its place.
    """

    def __init__(self, folder: Path, video: Any, parameters: VideoParameters | None) -> None:
        self._folder, self._video, self._parameters = folder, video, parameters
        self.number = 0

    def open(self, key_ms: int, *, start_ms: int | None = None) -> VideoChunk:
        """Open the next chunk, which begins with the keyframe at ``key_ms`` (see ``VideoChunk``)."""
        track, extradata = self._video, None
        if self._parameters is not None:
            track, extradata = self._parameters.stream, self._parameters.extradata
        return VideoChunk(self._folder, self.take(), track, key_ms, extradata, start_ms=start_ms)

    def take(self) -> int:
        """Use a number."""
        self.number += 1
        return self.number - 1

    def drop(self, chunk: VideoChunk) -> None:
        """Remove the chunk that was opened last; its number is used again."""
        chunk.abandon()
        self.number = chunk.number
