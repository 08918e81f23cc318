"""A file's session: everything that is started ends with it, however it ends."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import Any

import av
import pytest

from streamwave.config.settings import Settings
from streamwave.errors import LadderError, OutputError, SourceError, StreamWaveError
from streamwave.pipeline.job import place
from streamwave.pipeline.vod import LONG_CHUNK_SEGMENTS, MAX_CHUNKS, chunk_ms, file_session
from streamwave.pipeline.worker import worker
from streamwave.spool import advice
from streamwave.spool.journal import SPOOL_FAILED, EndRecord, writer_pid
from streamwave.util.scratch import OWNER
from streamwave.util.waiting import wait_until
from tests.support import encrypted
from tests.support.media import Clip, make_clip
from tests.support.processes import alive
from tests.support.segmented import luma_number

LADDER = '{"rungs": [{"name": "tiny", "short_side": 90, "max_kbps": 150}]}'


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    return make_clip(tmp_path / "a.mp4", frames=350, gop=25, size="160x90")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(
        env_file=None, state_dir=tmp_path / "state", ladder=LADDER, segment_seconds=1, max_chunks_in_flight=1
    )


def open_session(clip: Clip, settings: Settings, output: Path, **changes: object):
    options = {"output": str(output), "ladder": None, "overwrite": False, **changes}
    return file_session(str(clip.path), settings, **options)  # type: ignore[arg-type]


def spool(settings: Settings) -> list[str]:
    return [str(path.relative_to(settings.spool_dir)) for path in settings.spool_dir.rglob("*")]


def test_nothing_is_written_of_what_is_encrypted(settings: Settings, tmp_path: Path) -> None:
    path = encrypted.by_ffmpeg(tmp_path / "a.mp4")
    refused = pytest.raises(SourceError, match=r"a\.mp4 is encrypted \(DRM\), and there is no key here; decrypt it")
    with refused, file_session(str(path), settings, output=str(tmp_path / "out"), ladder=None, overwrite=False):
        pass
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.mp4"]


def test_a_job_is_prepared_and_cleaned_up(clip: Clip, settings: Settings, tmp_path: Path) -> None:
    with open_session(clip, settings, tmp_path / "out") as session:
        assert session.first_chunk == 0 and session.source.video is not None
        assert [r.name for r in session.job.renditions] == ["tiny", "audio"]
        assert session.job.rate == 25 and session.published_ms() == 0
        first = next(session.follower.chunks())
        assert (Path(session.job.spool) / str(first.video_file)).exists()
        # It is held back by its spool, so it is still there.
        pid = writer_pid(Path(session.job.spool))
        assert pid is not None and alive(pid)
        assert (tmp_path / "out/ledger/000000.jsonl").exists()
    assert wait_until(lambda: not alive(pid), 5)
    assert spool(settings) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("x")])
def test_whatever_is_raised_nothing_is_left(
    clip: Clip, settings: Settings, tmp_path: Path, error: BaseException
) -> None:
    with pytest.raises(type(error)), open_session(clip, settings, tmp_path / "out") as session:
        pid = writer_pid(Path(session.job.spool))
        raise error
    assert pid is not None and wait_until(lambda: not alive(pid), 5)
    assert spool(settings) == [] and not (tmp_path / "out").exists()


def test_no_space_for_work_files_is_explained(clip: Clip, settings: Settings, tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=f"no space left for work files in {settings.spool_dir}; free some or set"),
        open_session(clip, settings, tmp_path / "out"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert spool(settings) == [] and not (tmp_path / "out").exists()


def test_what_cannot_be_used_is_said_before_anything_is_written(clip: Clip, settings: Settings, tmp_path: Path) -> None:
    wrong: list[tuple[type[StreamWaveError], Path, dict[str, Any]]] = [
        (SourceError, clip.path.with_name("none.mp4"), {}),
        (LadderError, clip.path, {"ladder": "8k"}),
        (OutputError, clip.path, {"output": str(clip.path)}),
        (SourceError, clip.path, {"confine": True}),
    ]
    for kind, source, changes in wrong:
        options = {"output": str(tmp_path / "out"), "ladder": None, "overwrite": False, **changes}
        with pytest.raises(kind), file_session(str(source), settings, **options):
            raise AssertionError("it was opened")
        assert not (tmp_path / "out").exists() and (not settings.spool_dir.exists() or spool(settings) == [])


def test_the_spool_cannot_be_written(clip: Clip, settings: Settings, tmp_path: Path) -> None:
    settings.spool_dir.parent.mkdir(exist_ok=True)
    settings.spool_dir.write_bytes(b"a file")
    with pytest.raises(OutputError, match="set STREAMWAVE_SPOOL_DIR"), open_session(clip, settings, tmp_path / "out"):
        raise AssertionError("it was opened")
    assert not (tmp_path / "out").exists()


def test_folders_of_killed_runs_are_removed_those_of_living_ones_stay(
    clip: Clip, settings: Settings, tmp_path: Path
) -> None:
    dead, living = settings.spool_dir / "file-dead", settings.spool_dir / "file-living"
    for folder in (dead, living, settings.spool_dir / "show"):
        (folder / "spool").mkdir(parents=True)
        (folder / OWNER).touch()
    with (living / OWNER).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with open_session(clip, settings, tmp_path / "out") as session:
            mine = Path(session.job.work).parent
            assert sorted(p.name for p in settings.spool_dir.iterdir()) == sorted(["file-living", mine.name, "show"])
            # Ours counts as living while we do.
            with open_session(clip, settings, tmp_path / "other"):
                assert mine.exists()
    assert sorted(p.name for p in settings.spool_dir.iterdir()) == ["file-living", "show"]


def test_overwriting_removes_a_broadcast_and_nothing_else(clip: Clip, settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ours = ["manifest.mpd", "old.m3u8", "p0/old/init.mp4", "p0/old/0.m4s", "ledger/000000.jsonl", "ledger/000001.jsonl"]
    beside = ["notes.txt", "film.mp4", "show/manifest.mpd", "show/p0/a/0.m4s", "film/video/init.mp4", "broadcasts.json"]
    for name in [*ours, *beside]:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"x")
    with open_session(clip, settings, out, overwrite=True):
        left = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
        assert left == {*beside, "ledger/000000.jsonl", "ledger/writer.json"}
        assert b"broadcast" in (out / "ledger/000000.jsonl").read_bytes()


def test_a_source_that_broke_off_is_told_from_a_spool_that_is_full(
    clip: Clip, settings: Settings, tmp_path: Path
) -> None:
    with open_session(clip, settings, tmp_path / "out", overwrite=True) as session:
        session.follower.ended = EndRecord(reason="end of source")
        session.check_complete()
        session.follower.ended = EndRecord(reason="source failed", error="a.mp4 broke off")
        with pytest.raises(SourceError, match="a.mp4 broke off; it was readable for 0.0 s"):
            session.check_complete()
        session.follower.ended = EndRecord(reason=SPOOL_FAILED, error="the spool /x cannot be written")
        with pytest.raises(OutputError, match="/x cannot be written; free some space or set STREAMWAVE_SPOOL_DIR"):
            session.check_complete()


def test_another_programs_manifest_is_not_overwritten(clip: Clip, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.mpd").write_bytes(b"another program's")
    for overwrite in (False, True):
        with (
            pytest.raises(OutputError, match=r"out holds a manifest.mpd that another program wrote; choose another"),
            open_session(clip, settings, tmp_path / "out", overwrite=overwrite),
        ):
            pass
        assert [path.name for path in (tmp_path / "out").rglob("*")] == ["manifest.mpd"]
    assert (tmp_path / "out/manifest.mpd").read_bytes() == b"another program's"


def test_chunks_of_long_files_get_longer() -> None:
    assert chunk_ms(2000, None) == chunk_ms(2000, 5_000) == 2000
    for hours in (1, 2, 10, 100, 1000):
        length = chunk_ms(2000, hours * 3_600_000)
        assert length % 2000 == 0 and hours * 3_600_000 / length <= MAX_CHUNKS
    assert chunk_ms(2000, 600_000) <= 2000 * LONG_CHUNK_SEGMENTS


def test_a_file_whose_pictures_change_becomes_several_sessions(settings: Settings, tmp_path: Path) -> None:
    """Each with renditions that fit it, its own place for work files, and all of its pictures."""
    sizes = ("160x90", "96x120", "160x90")
    parts = [make_clip(tmp_path / f"{n}.ts", frames=75, gop=25, size=size).path for n, size in enumerate(sizes)]
    source = tmp_path / "a.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    received: dict[str, list[int]] = {}
    with file_session(str(source), settings, output=str(tmp_path / "out"), ladder=None, overwrite=False) as session:
        works, shapes = set(), []
        for job, record in session.chunks():
            if job.period not in received:
                shapes.append([(r.width, r.height) for r in job.renditions if r.kind == "video"])
            assert job.rate == 25
            with av.open(str(place(job, record).video_path)) as container:
                numbers = [luma_number(f) for f in container.decode(video=0)]
            assert record.number == len(received.get(job.period, [])) // 25
            received[job.period] = [*received.get(job.period, []), *numbers]
            works.add((job.session, job.spool, job.work))
            job.forget(record.number)
        session.check_complete()
        assert [found.code for found in session.advice if found.code == "size-changed"] == ["size-changed"] * 2
    assert received == {f"p{n}": list(range(75)) for n in range(3)} and len(works) == 3
    assert shapes == [[(160, 90)], [(90, 112)], [(160, 90)]]
    assert spool(settings) == []


def test_chunks_of_all_sessions_of_a_file_count_for_its_bound(settings: Settings, tmp_path: Path) -> None:
    """Also where one waits for the end of the one before: nobody who takes the chunks in order waits for ever."""
    source, sizes = tmp_path / "a.ts", ("160x90", "96x120") * 6
    parts = {size: make_clip(tmp_path / f"{size}.ts", frames=50, gop=25, size=size).path for size in set(sizes)}
    source.write_bytes(b"".join(parts[size].read_bytes() for size in sizes))
    with file_session(str(source), settings, output=str(tmp_path / "out"), ladder=None, overwrite=False) as session:
        folder = Path(session.job.spool).parent
        most = 0
        taken: list[tuple[str, int]] = []
        for job, record in session.chunks():
            if not taken:
                wait_until(lambda: len(list(folder.rglob("*.mkv"))) > 9, 2)
            most = max(most, len(list(folder.rglob("*.mkv"))))
            taken.append((job.period, record.number))
            job.forget(record.number)
        session.check_complete()
    assert taken == [(f"p{n}", chunk) for n in range(12) for chunk in (0, 1)]
    assert most <= 9 + 1  # one that is being opened


def test_notes_are_for_the_owner_of_the_file(clip: Clip, settings: Settings, tmp_path: Path) -> None:
    with open_session(clip, settings, tmp_path / "out") as session:
        assert session.notes() == []
        session.advice = [
            advice.size_changed((2, 2), (4, 4)),
            advice.b_frames_live(),
            advice.size_changed((2, 2), (4, 4)),
        ]
        worker.publication(session.job).ledger.losses.damaged_chunks = 2
        assert session.notes() == [
            "the frame size changed from 2x2 to 4x4; playback may be interrupted briefly there",
            "2 chunks contain frames that could not be decoded; the last good frame is repeated",
        ]
