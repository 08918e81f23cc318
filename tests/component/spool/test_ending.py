"""A segmenter that is killed: what it had received whole is in the journal afterwards, which has its end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av
import pytest

from streamwave.receive.launch import start_segmenter, stop_segmenter
from streamwave.spool.broadcast import open_session
from streamwave.spool.ending import end_journal
from streamwave.spool.journal import JOURNAL
from streamwave.spool.options import Options
from streamwave.timing import aac_frame_at_ms
from tests.matrix.flv import SOUND, Tag, read_tags, write_tags
from tests.support.http import sent
from tests.support.media import make_clip
from tests.support.processes import wait_for
from tests.support.segmented import contiguous, read, segment


@contextmanager
def stalling(tags: list[Tag], folder: Path) -> Iterator[str]:
    """A server that sends ``tags`` at once, and then nothing more."""
    write_tags(folder / "sent.flv", tags)
    with sent((folder / "sent.flv").read_bytes(), "show.flv", held=threading.Event()) as address:
        yield address


def packets(path: Path) -> int:
    """Packets in a chunk's file, or 0 if it is not there, or nothing is in it yet."""
    with suppress(av.error.FFmpegError), av.open(str(path)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)
    return 0


def test_a_chunk_that_waited_for_its_sound_is_not_lost(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.flv", frames=75, gop=25, size="160x90", options=("-bf", "0"))
    tags = [tag for tag in read_tags(clip.path) if tag.ms < (1800 if tag.kind == SOUND else 2200)]
    _, session = open_session(tmp_path / "spools", "show", output="memory://out", window_ms=0)
    with stalling(tags, tmp_path) as source:
        process = start_segmenter(Options(source=source, spool=session, segment_ms=1000, live=True))
        try:
            wait_for(lambda: packets(session / "000001.mkv") == 25, "the second chunk")
            os.kill(process.pid, signal.SIGKILL)
            process.wait(60)
        finally:
            stop_segmenter(process, graceful=False)
    before = read(session)
    assert [chunk.pictures for chunk in before.chunks] == [25] and before.end is None

    assert end_journal(session, "killed", "the segmenter was killed")

    spool = read(session)
    contiguous(spool)
    numbers = [number for chunk in spool.pictures() for number in chunk]
    assert numbers[:50] == list(range(50)) and numbers == list(range(len(numbers)))
    assert [chunk.pictures for chunk in spool.chunks][:2] == [25, 25]
    second = spool.chunks[1]
    assert (second.start_ms, second.next_ms) == (1000, 2000)
    # Its sound is gone with the segmenter's memory; a stand-in takes its place.
    assert second.audio_count == aac_frame_at_ms(2000, 48000) - second.audio_first
    assert second.audio_file is not None and not (session / second.audio_file).exists()
    assert spool.end is not None and (spool.end.reason, spool.end.error) == ("killed", "the segmenter was killed")
    assert not end_journal(session, "again", None)


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut off"])
def test_pictures_of_the_open_chunk_that_are_on_disk_are_taken_in(tmp_path: Path, cut: bool) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=75, gop=25, size="160x90", options=("-bf", "0"))
    folder = tmp_path / "spool"
    whole = segment(clip.path, folder, segment_ms=1000)
    lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    chunks = [n for n, line in enumerate(lines) if line.startswith(b'{"type":"chunk"')]
    # Killed while the line of the second chunk was being written.
    (folder / JOURNAL).write_bytes(b"".join(lines[: chunks[1]]) + lines[chunks[1]][:30])
    if cut:
        last = folder / "000002.mkv"
        last.write_bytes(last.read_bytes()[: last.stat().st_size * 2 // 3])
        (folder / "000002.aac").unlink()
    assert end_journal(folder, "killed", None)
    spool = read(folder)
    contiguous(spool)
    numbers = [number for chunk in spool.pictures() for number in chunk]
    assert numbers == list(range(len(numbers)))
    assert spool.chunks[:2] == [
        found.model_copy(update={"closed_unix_ms": made.closed_unix_ms, "size_bytes": made.size_bytes})
        for made, found in zip(spool.chunks, whole.chunks[:2], strict=False)
    ]
    assert len(numbers) == sum(chunk.pictures for chunk in spool.chunks)
    assert (50 < len(numbers) < 75) if cut else len(numbers) == 75
    assert spool.chunks[-1].next_ms == len(numbers) * 40


def test_of_a_session_that_has_not_begun_nothing_is_made_up(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=25, gop=25, size="160x90")
    folder = tmp_path / "spool"
    segment(clip.path, folder, segment_ms=1000)
    (folder / JOURNAL).unlink()
    assert end_journal(folder, "killed", None)
    spool = read(folder)
    assert (spool.opened, spool.chunks) == (None, []) and spool.end is not None
