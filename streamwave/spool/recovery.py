"""Chunks that a segmenter had on disk and not in its journal when it was killed: their pictures are journalled after all.

That is the chunk that waited for its sound, and of the one that was open what its file holds by then. The sound that was
still in the segmenter's memory is lost: a stand-in takes its place where it was due, as for any sound that cannot be read.
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
    """Records for the chunks that follow the journal's last one without a hole, as far as pictures of them are on disk.

    None where the journal has no chunk yet: nobody has said what the source is.

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
        # One that begins before this chunk's own pictures holds a copy of them, and its own ones cannot be told apart.
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
    """The file of a chunk, and when what can still be read of it is shown, in milliseconds, in the file's order."""
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
