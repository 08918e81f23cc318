"""The journal: one writer, whole lines only, and an honest word on whether somebody still writes."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from streamwave.errors import SpoolError
from streamwave.model import ChunkRecord, SourceInfo
from streamwave.spool.journal import (
    JOURNAL,
    ChunkLine,
    EndRecord,
    JournalReader,
    JournalWriter,
    OpenRecord,
    chunk_name,
    writer_alive,
    writer_pid,
)

OPEN = OpenRecord(
    source=SourceInfo(url="u", container="flv"), rate=Fraction(30000, 1001), sample_rate=48000, origin_unix_ms=5
)


def chunk(number: int) -> ChunkLine:
    return ChunkLine(
        chunk=ChunkRecord(number=number, video_file=chunk_name(number, "mkv"), start_ms=0, next_ms=2000, pictures=50)
    )


def test_what_is_written_is_read_once_and_in_order(tmp_path: Path) -> None:
    writer, reader = JournalWriter(tmp_path / "s"), JournalReader(tmp_path / "s")
    assert reader.read() == []
    writer.append(OPEN)
    assert reader.read() == [OPEN]
    writer.append(chunk(0))
    writer.append(chunk(1))
    assert reader.read() == [chunk(0), chunk(1)]
    assert reader.read() == []
    writer.append(EndRecord(reason="end of source"))
    writer.close()
    assert reader.read() == [EndRecord(reason="end of source")]
    # Another reader sees it all.
    assert JournalReader(tmp_path / "s").read() == [OPEN, chunk(0), chunk(1), EndRecord(reason="end of source")]


def test_a_reader_may_come_before_the_folder(tmp_path: Path) -> None:
    assert JournalReader(tmp_path / "later").read() == []


def test_a_line_counts_when_it_is_whole(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path)
    writer.append(OPEN)
    line = chunk(0).model_dump_json().encode() + b"\n"
    reader = JournalReader(tmp_path)
    assert reader.read() == [OPEN]
    for cut in (1, len(line) // 2, len(line) - 1):
        (tmp_path / JOURNAL).write_bytes(OPEN.model_dump_json().encode() + b"\n" + line[:cut])
        assert reader.read() == []
    (tmp_path / JOURNAL).write_bytes(OPEN.model_dump_json().encode() + b"\n" + line)
    assert reader.read() == [chunk(0)]
    writer.close()


@pytest.mark.parametrize("line", ["not json", '{"type": "other"}', '{"type": "chunk", "chunk": {"number": "x"}}', ""])
def test_a_whole_line_that_is_no_record(tmp_path: Path, line: str) -> None:
    (tmp_path / JOURNAL).write_text(OPEN.model_dump_json() + "\n" + line + "\n")
    with pytest.raises(SpoolError, match="the journal .* is damaged"):
        JournalReader(tmp_path).read()


def test_one_writer(tmp_path: Path) -> None:
    assert not writer_alive(tmp_path) and writer_pid(tmp_path) is None
    writer = JournalWriter(tmp_path)
    assert writer_alive(tmp_path) and writer_pid(tmp_path) == os.getpid()
    with pytest.raises(SpoolError, match="is being written by another segmenter"):
        JournalWriter(tmp_path)
    writer.close()
    assert not writer_alive(tmp_path) and writer_pid(tmp_path) is None
    JournalWriter(tmp_path).close()


def test_a_session_that_has_ended_is_not_taken_up_again(tmp_path: Path) -> None:
    """It was given up for a segmenter that came late; somebody else has gone on."""
    writer = JournalWriter(tmp_path)
    writer.append(EndRecord(reason="cut off", error="the segmenter died"))
    writer.close()
    with pytest.raises(SpoolError, match="has ended"):
        JournalWriter(tmp_path)
    assert not writer_alive(tmp_path)
    assert len(JournalReader(tmp_path).read()) == 1


def test_a_killed_writer_writes_no_more(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    program = (
        "import sys, time; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\nfrom streamwave.spool.journal import *\n"
        "w = JournalWriter(Path(sys.argv[1])); print('there', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path, root], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "there\n"
        assert writer_pid(tmp_path) == other.pid
        other.kill()
        other.wait(60)
    # Its number is still in the file; the lock says that it means nobody.
    assert (tmp_path / "lock").read_text() == str(other.pid)
    assert not writer_alive(tmp_path) and writer_pid(tmp_path) is None
