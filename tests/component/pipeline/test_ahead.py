"""The head start of a file's chunks: its outcomes are those of the task runs' first attempts, and it leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamwave.config.settings import Settings
from streamwave.errors import FFmpegError
from streamwave.ffmpeg.process import launcher
from streamwave.pipeline.ahead import HeadStart
from streamwave.pipeline.chunk import place, transcode, transcode_all
from streamwave.pipeline.vod import file_session
from streamwave.util.waiting import wait_until
from tests.support.cli import LADDER, slow_ffmpeg
from tests.support.media import make_clip

#: Chunks that are transcoded ahead.
LIMIT = 2


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five chunks of a second, the last of which has both slots to itself."""
    return make_clip(tmp_path_factory.mktemp("clip") / "a.mp4", frames=125, gop=25, size="320x180").path


@pytest.fixture(autouse=True)
def _reopened() -> Iterator[None]:
    launcher(2).reopen()
    yield
    launcher().reopen()


def settings(tmp_path: Path, slow: str = "-none-", *, once: bool = False) -> Settings:
    return Settings.load(
        env_file=None, state_dir=tmp_path / "state", ladder=json.dumps(LADDER), segment_seconds=1, passthrough="never",
        ffmpeg_slots=2, ffmpeg_path=str(slow_ffmpeg(tmp_path / "ffmpeg", slow, once=once)),
    )  # fmt: skip


def begun(clip: Path, values: Settings, output: Path) -> HeadStart:
    return HeadStart(file_session(str(clip), values, output=str(output), ladder=None, overwrite=False), LIMIT)


def starts(tmp_path: Path) -> list[str]:
    """The renditions of every FFmpeg that transcoded, in the order of the chunks."""
    listed = (tmp_path / "ffmpeg/starts").read_text().splitlines()
    found = [line for line in listed if ".mkv" in line]
    return sorted(
        f"{chunk} {' '.join(name for name in ('large', 'small') if f'/{name}.' in line)}"
        for line in found
        for chunk in range(5)
        if f"{chunk:06d}.mkv" in line
    )


def test_first_chunks_are_made_ahead_and_the_last_one_uses_every_core(clip: Path, tmp_path: Path) -> None:
    with begun(clip, settings(tmp_path), tmp_path / "out") as ahead:
        assert wait_until(lambda: starts(tmp_path) == ["0 large small", "1 large small"], 60)
        for job, record in ahead.chunks():
            chunk = place(job, record)
            for rendition in job.video_renditions:
                if record.number < LIMIT:
                    transcode(job, chunk, rendition)
                    assert job.transcoder().result_path(chunk, rendition.name).exists()
            if record.number >= LIMIT:
                transcode_all(job, chunk)
            job.forget(record.number)
    assert starts(tmp_path) == [*(f"{chunk} large small" for chunk in range(4)), "4 large", "4 small"]


def test_a_failure_ahead_is_the_first_attempts(clip: Path, tmp_path: Path) -> None:
    values = settings(tmp_path, "000001.mkv", once=True)
    with begun(clip, values, tmp_path / "out") as ahead:
        assert wait_until(lambda: "1 large small" in starts(tmp_path), 60)
        assert wait_until(lambda: len(launcher()._running) == 1, 60)  # the other one has ended
        for process in list(launcher()._running):
            process.kill()
        chunks = ahead.chunks()
        next(chunks)
        job, record = next(chunks)
        chunk, (large, small) = place(job, record), job.video_renditions
        for rendition in (large, small):
            with pytest.raises(FFmpegError):
                transcode(job, chunk, rendition)
        transcode(job, chunk, small, 2)
    assert [one for one in starts(tmp_path) if one.startswith("1")] == ["1 large small", "1 small"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("x")])
def test_whatever_is_raised_nothing_is_left(clip: Path, tmp_path: Path, error: BaseException) -> None:
    values = settings(tmp_path, "00000")
    with pytest.raises(type(error)), begun(clip, values, tmp_path / "out") as ahead:
        assert wait_until(lambda: len(launcher()._running) == LIMIT, 60)
        raise error
    assert not launcher()._running and not ahead.session.alive()
    assert not list(values.spool_dir.iterdir()) and not (tmp_path / "out").exists()
