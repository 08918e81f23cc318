"""Runs the segmenter on a file or stream, and reads the resulting spool."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from numpy.typing import NDArray

from streamwave.model import ChunkRecord
from streamwave.mp4 import read_adts
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.journal import ChunkLine, EndRecord, JournalReader, OpenRecord
from streamwave.spool.options import Options
from tests.support.media import picture_number


@dataclass(frozen=True)
class Spool:
    """The spool of a session, after its segmenter has ended."""

    folder: Path
    opened: OpenRecord | None
    chunks: list[ChunkRecord]
    end: EndRecord | None

    def pictures(self) -> list[list[int]]:
        """The frame numbers in each chunk; each chunk is decoded alone."""
        found = []
        for chunk in self.chunks:
            assert chunk.video_file is not None
            with av.open(str(self.folder / chunk.video_file)) as container:
                found.append([luma_number(frame) for frame in container.decode(video=0)])
        return found

    def sound(self) -> list[bytes]:
        """The AAC frames of all chunks."""
        files = [self.folder / chunk.audio_file for chunk in self.chunks if chunk.audio_file]
        return [frame for file in files for frame in read_adts(file.read_bytes())]


def luma_number(frame: av.VideoFrame) -> int:
    luma: NDArray[Any] = frame.to_ndarray(format="gray")
    return picture_number(luma)


def read(folder: Path) -> Spool:
    lines = JournalReader(folder).read()
    opened = [line for line in lines if isinstance(line, OpenRecord)]
    ends = [line for line in lines if isinstance(line, EndRecord)]
    assert len(opened) <= 1 and len(ends) <= 1 and (not ends or lines[-1] is ends[0])
    chunks = [line.chunk for line in lines if isinstance(line, ChunkLine)]
    return Spool(folder, opened[0] if opened else None, chunks, ends[0] if ends else None)


def segment(path: Path, spool: Path, **options: object) -> Spool:
    Segmenter(Options(source=f"file:{path}", spool=spool, **options)).run()  # type: ignore[arg-type]
    return read(spool)


def contiguous(spool: Spool) -> None:
    """Check that the video and audio of the chunks are contiguous."""
    assert [chunk.number for chunk in spool.chunks] == list(range(len(spool.chunks)))
    assert spool.chunks[0].start_ms == 0 and spool.chunks[0].audio_first == 0
    for chunk, after in zip(spool.chunks, spool.chunks[1:], strict=False):
        assert chunk.next_ms == after.start_ms
        assert chunk.audio_first + chunk.audio_count == after.audio_first
