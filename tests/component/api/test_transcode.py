"""``streamwave.transcode``: retries, stand-ins and ends as in the flow, by threads of this process."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path

import pytest

import streamwave
from streamwave.errors import IncompleteError, OutputError, SourceError, UsageError
from tests.support.cli import LADDER, Cli, failing_ffmpeg, slow_ffmpeg
from tests.support.media import Clip, make_clip
from tests.support.player import decode_pictures, representations
from tests.support.processes import wait_for
from tests.support.published import files

CHUNKS = 4
NAMES = ["large", "small", "audio"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=100, gop=25, size="320x180")


def settings(folder: Path, **changes: object) -> streamwave.Settings:
    values = {"segment_seconds": 1, "ladder": json.dumps(LADDER), "preset": "ultrafast", "passthrough": "never"}
    return streamwave.Settings.load(env_file=None, state_dir=folder / "state", **{**values, **changes})


@pytest.fixture(scope="module")
def usual(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What comes out of the clip."""
    folder = tmp_path_factory.mktemp("usual")
    told: list[tuple[int, int | None]] = []
    made = streamwave.transcode(
        clip.path, folder / "out", settings=settings(folder), on_progress=lambda *one: told.append(one)
    )
    assert made.outputs == (str(folder / "out"),) and made.notes == ()
    assert [one.name for one in made.renditions] == NAMES
    assert told[-1] == (made.duration_ms, 4000) and len(told) == CHUNKS and told == sorted(told)
    assert leftovers(folder) == []
    return folder / "out"


def leftovers(folder: Path) -> list[Path]:
    return list((folder / "state" / "spool").rglob("*"))


def test_every_picture_is_there_once(clip: Clip, usual: Path) -> None:
    found = representations(usual)
    assert set(found) == set(NAMES)
    for name in ("large", "small"):
        assert [p.number for p in decode_pictures(found[name].data, found[name].timescale)] == [*range(clip.frames)]


def test_a_failed_transcode_is_retried_alone_and_leaves_no_trace(clip: Clip, usual: Path, tmp_path: Path) -> None:
    ffmpeg = failing_ffmpeg(tmp_path / "ffmpeg", "000001.mkv", once=True)
    streamwave.transcode(clip.path, tmp_path / "out", settings=settings(tmp_path, ffmpeg_path=str(ffmpeg)))
    starts = (ffmpeg.parent / "starts").read_text().splitlines()
    made = [[name for name in NAMES if f"/000001/{name}." in line] for line in starts if "000001.mkv" in line]
    assert made == [["large", "small"], ["large"], ["small"]]
    assert files(tmp_path / "out") == files(usual)


def test_a_chunk_that_never_works_is_black_and_the_error_says_so(clip: Clip, usual: Path, tmp_path: Path) -> None:
    """One that exceeds its limits, so that another try would as well, is so at once."""
    ffmpeg = failing_ffmpeg(tmp_path / "ffmpeg", "000001.mkv", "000002.mkv")
    with pytest.raises(IncompleteError, match=r"^2 of 4 chunks are black .* \(numbers 1, 2\)") as raised:
        streamwave.transcode(
            clip.path, tmp_path / "out", settings=settings(tmp_path, ffmpeg_path=str(ffmpeg), chunk_retries=1)
        )
    assert raised.value.behind == ()
    starts = (ffmpeg.parent / "starts").read_text().splitlines()
    assert [sum(name in line for line in starts) for name in ("000001.mkv", "000002.mkv")] == [3, 1]
    made = representations(tmp_path / "out")
    assert made["audio"].data == representations(usual)["audio"].data
    numbers = [picture.number for picture in decode_pictures(made["small"].data, made["small"].timescale)]
    assert numbers == [*range(25), *[0] * 50, *range(75, 100)]


def test_an_output_that_holds_a_broadcast_is_kept_unless_it_is_to_be_replaced(clip: Clip, tmp_path: Path) -> None:
    here = settings(tmp_path)
    streamwave.transcode(clip.path, tmp_path / "out", ladder="small", settings=here)
    before = files(tmp_path / "out")
    with pytest.raises(OutputError, match="already holds a broadcast"):
        streamwave.transcode(clip.path, tmp_path / "out", settings=here)
    assert files(tmp_path / "out") == before
    made = streamwave.transcode(clip.path, tmp_path / "out", ladder="large", overwrite=True, settings=here)
    assert [one.name for one in made.renditions] == ["large", "audio"]
    assert set(representations(tmp_path / "out")) == {"large", "audio"}


def test_what_cannot_be_done_is_said_before_anything_is_written(clip: Clip, tmp_path: Path) -> None:
    here = settings(tmp_path)
    with pytest.raises(SourceError):
        streamwave.transcode(tmp_path / "none.mp4", tmp_path / "out", settings=here)
    with pytest.raises(UsageError, match="no rendition 'huge'"):
        streamwave.transcode(clip.path, tmp_path / "out", ladder="huge", settings=here)
    with pytest.raises(UsageError, match="the output is empty"):
        streamwave.transcode(clip.path, "", settings=here)
    assert not (tmp_path / "out").exists()


def test_an_error_of_the_caller_leaves_nothing_and_harms_no_other_call(clip: Clip, usual: Path, tmp_path: Path) -> None:
    """Another thread transcodes meanwhile."""
    others: list[streamwave.Transcoded] = []

    def other() -> None:
        others.append(streamwave.transcode(clip.path, tmp_path / "other", settings=settings(tmp_path / "b")))

    def fail(published_ms: int, of_ms: int | None) -> None:
        raise RuntimeError("the caller's own")

    thread = threading.Thread(target=other)
    thread.start()
    with pytest.raises(RuntimeError, match="the caller's own"):
        streamwave.transcode(clip.path, tmp_path / "out", settings=settings(tmp_path / "a"), on_progress=fail)
    thread.join(60)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []
    assert leftovers(tmp_path / "a") == leftovers(tmp_path / "b") == []
    assert len(others) == 1 and files(tmp_path / "other") == files(usual)


def test_an_interrupt_ends_ffmpeg_and_leaves_nothing(clip: Clip, tmp_path: Path) -> None:
    cli = Cli(tmp_path, {"STREAMWAVE_PASSTHROUGH": "never"})
    cli.extra["FFMPEG_PATH"] = str(slow_ffmpeg(tmp_path / "ffmpeg", "000000.mkv"))
    program = f"import streamwave; streamwave.transcode({str(clip.path)!r}, 'out')"
    with cli.start("-c", program, program="python") as process:
        wait_for(lambda: cli.ffmpegs("000000.mkv"), "the FFmpeg of chunk 0")
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode not in (0, None) and err.rstrip().endswith("KeyboardInterrupt")
    assert time.monotonic() - began < 50  # the chunk itself would take five minutes
    assert cli.ffmpegs() == [] and cli.leftovers() == []
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []
