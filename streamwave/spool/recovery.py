"""Recovers the video of chunks that a killed segmenter had on disk but not yet in its journal.

These are the chunk that was waiting for its audio, and what had been written of the open chunk. Audio that was still in the
segmenter's memory is lost: filler takes its place, as for any audio that cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av.error

from streamwave.ffmpeg.chunks import open_chunk
from streamwave.model import CONTAINERS, ChunkRecord
from streamwave.spool.journal import ChunkLine, JournalReader, OpenRecord, chunk_name
from streamwave.timing import aac_frame_at_ms, round_half_up


def left_chunks(session: Path) -> Iterator[ChunkRecord]:
    """Yield records for the chunks that directly follow the journal's last one and have video frames on disk.

    Yields nothing if the journal has no chunk yet, because the frame grid is then unknown.

    Raises:
        SpoolError: the journal is damaged.
    """
    lines = JournalReader(session).read()
    opened = next((line for line in lines if isinstance(line, OpenRecord)), None)
    chunks = [line.chunk for line in lines if isinstance(line, ChunkLine)]
    if opened is None or opened.rate is None or not chunks or chunks[-1].video_file is None:
        return
    last = chunks[-1]
    path, shown_ms = _pictures(session, last.number + 1)
    while path is not None:
        start_ms, own = last.next_ms, [ms for ms in shown_ms if ms >= last.next_ms]
        following, following_ms = _pictures(session, last.number + 2)
        # A following chunk that starts before this chunk's frames has copies of them, so the two cannot be told apart.
        if following_ms and own and following_ms[0] > own[0]:
            next_ms = following_ms[0]
        else:
            following, next_ms = None, round_half_up(max(own, default=start_ms) + 1000 / opened.rate)
        own = [ms for ms in own if ms < next_ms]
        if not own:
            return
        first = last.audio_first + last.audio_count
        due = max(0, aac_frame_at_ms(next_ms, opened.sample_rate) - first) if opened.sample_rate else 0
        last = ChunkRecord(
            number=last.number + 1,
            video_file=path.name,
            start_ms=start_ms,
            next_ms=next_ms,
            pictures=len(own),
            audio_file=chunk_name(last.number + 1, "aac") if due else None,
            audio_first=first,
            audio_count=due,
            size_bytes=path.stat().st_size,
            closed_unix_ms=path.stat().st_mtime_ns // 1_000_000,
        )
        yield last
        path, shown_ms = following, following_ms


def _pictures(session: Path, number: int) -> tuple[Path | None, list[int]]:
    """The file of a chunk, and the presentation times in milliseconds of its readable frames, in the order of the file."""
    for suffix in CONTAINERS:
        path = session / chunk_name(number, suffix)
        found = list[int]()
        with suppress(OSError, av.error.FFmpegError), open_chunk(path) as container:
            for packet in container.demux(video=0):
                if packet.size and packet.pts is not None and not packet.is_corrupt:
                    found.append(round_half_up(packet.pts * Fraction(packet.time_base or 0) * 1000))
        if found:
            return path, found
    return None, []
