"""The exported file has every picture and sample of the broadcast at the moment at which the broadcast has it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamwave.broadcasts.catalog import Output, need_ledger
from streamwave.broadcasts.export_files import export_files
from streamwave.errors import MediaError, OutputError, UsageError
from streamwave.manifest.packaged import PackagedChunk
from streamwave.mp4.boxes import iter_boxes
from streamwave.timing import AAC_FRAME
from tests.matrix.edits import moving_edits
from tests.support.cli import PROGRAMS, Cli
from tests.support.media import Clip, make_clip, picture_flashes, picture_number
from tests.support.player import Sound
from tests.support.published import PATH, packaged, publish

RATE = Fraction(30000, 1001)
FRAMES = 75


@dataclass(frozen=True)
class Made:
    clip: Clip
    chunks: list[PackagedChunk]


@pytest.fixture(scope="module", params=[True, False], ids=["b-frames", "no b-frames"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    clip = make_clip(folder / "a.mp4", RATE, FRAMES, gop=30)
    return Made(clip, packaged(folder, clip, b_frames=request.param))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> list[PackagedChunk]:
    folder = tmp_path_factory.mktemp("other")
    return packaged(folder, make_clip(folder / "a.mp4", Fraction(25), 25, gop=25))


def export(store: Any, target: Path, **changes: Any) -> list[tuple[Path, int]]:
    wanted: dict[str, Any] = {"rendition": None, "audio": True, "split": False, "overwrite": False}
    return export_files(store, target, **(wanted | changes), progress=lambda done, total: None)


def pictures(path: Path) -> list[tuple[Fraction, int, bool]]:
    """(seconds, number, flashes) of every picture."""
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            luma = np.frombuffer(bytes(frame.planes[0]), np.uint8).reshape(-1, frame.planes[0].line_size)
            luma = luma[: frame.height, : frame.width]
            assert frame.pts is not None and frame.time_base is not None
            found.append((frame.pts * frame.time_base, picture_number(luma), picture_flashes(luma)))
    return found


def sound(path: Path) -> Sound:
    """All sound; a gap between periods is silence."""
    parts: list[Any] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            assert frame.pts is not None and frame.time_base is not None
            at = int(frame.pts * frame.time_base * 48000)
            have = sum(part.shape[1] for part in parts)
            assert at >= have
            parts += [np.zeros((2, at - have), np.float32)] if at > have else []
            parts.append(frame.to_ndarray())
    return Sound(48000, 0, np.concatenate(parts, axis=1).mean(axis=0))


@pytest.mark.parametrize("sessions", [1, 3])
@pytest.mark.parametrize("scheme", ["local", "memory"])
def test_the_file_equals_the_broadcast(tmp_path: Path, made: Made, sessions: int, scheme: str) -> None:
    url = str(tmp_path / "out") if scheme == "local" else f"memory://export-{tmp_path.name}"
    output = Output(url, {}, tmp_path)
    publish(output, *[made.chunks] * sessions)
    store = output.store(PATH)
    target = tmp_path / "stage.mp4"
    ((written, length_ms),) = export(store, target)
    timeline = need_ledger(store).timeline
    assert timeline is not None and written == target
    starts = [period.start for period in timeline.periods]
    assert length_ms == round(timeline.duration * 1000)

    shown = pictures(target)
    assert [number for _, number, _ in shown] == list(range(FRAMES)) * sessions
    due = [start + n / RATE for start in starts for n in range(FRAMES)]
    # A period begins on a picture's tick.
    assert max(abs(at - want) for (at, _, _), want in zip(shown, due, strict=True)) <= Fraction(1, 30000)
    heard = sound(target)
    frames = sum(s.duration for c in made.chunks for t in c.tracks if t.timescale == 48000 for s in t.segments)
    assert len(heard.samples) == round(starts[-1] * 48000) + frames
    flashes = [at for n, (at, _, flash) in enumerate(shown) if flash and not (n and shown[n - 1][2])]
    beeps = heard.beeps()
    assert len(beeps) == len(flashes) == sessions * len(made.clip.flashes())
    assert max(abs(a - b) for a, b in zip(beeps, flashes, strict=True)) <= Fraction(1, 100)

    with av.open(str(target)) as container:
        video = container.streams.video[0]
        assert video.frames == FRAMES * sessions and video.average_rate is not None
        # Of the file: from the first picture to the end of the longest track, as the broadcast.
        assert container.duration is not None and abs(container.duration - int(timeline.duration * 1_000_000)) <= 1000
        assert container.start_time == 0
    assert moving_edits(target.read_bytes()) == {}
    kinds = [box.type for box in iter_boxes(target.read_bytes())]
    assert kinds.index("moov") < kinds.index("mdat")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["stage.mp4"]


def test_a_choice(tmp_path: Path, made: Made) -> None:
    output = Output(str(tmp_path / "out"), {}, tmp_path)
    publish(output, made.chunks, finish=False)  # live: up to now
    store = output.store(PATH)
    export(store, tmp_path / "small.mp4", rendition="small", audio=False)
    with av.open(str(tmp_path / "small.mp4")) as container:
        assert (container.streams.video[0].height, len(container.streams.audio)) == (60, 0)
    export(store, tmp_path / "sound.m4a", rendition="audio")
    with av.open(str(tmp_path / "sound.m4a")) as container:
        assert len(container.streams.video) == 0 and len(list(container.decode(audio=0))) > 100
    assert moving_edits((tmp_path / "sound.m4a").read_bytes()) == {}
    with pytest.raises(UsageError, match="is a folder; name a file in it"):
        export(store, tmp_path)
    with pytest.raises(UsageError, match="there is no rendition 'huge'; choose one of large, small, audio"):
        export(store, tmp_path / "x.mp4", rendition="huge")
    with pytest.raises(UsageError, match="small.mp4 exists; choose another name, or replace it with overwrite=True"):
        export(store, tmp_path / "small.mp4")
    export(store, tmp_path / "small.mp4", overwrite=True)
    assert len(pictures(tmp_path / "small.mp4")) == FRAMES


def test_of_a_window_whose_head_is_gone_only_the_sound_is_moved_and_by_less_than_a_frame(
    tmp_path: Path, made: Made
) -> None:
    """None of its frames begins with the first picture that is left: who knows no edit list hears it that much early."""
    output = Output(str(tmp_path / "out"), {}, tmp_path)
    publish(output, made.chunks, dvr_window_ms=1500, finish=False)
    export(output.store(PATH), tmp_path / "a.mp4")
    assert 30 < len(pictures(tmp_path / "a.mp4")) < FRAMES
    moved = moving_edits((tmp_path / "a.mp4").read_bytes())
    assert set(moved) <= {"soun"}
    for (length_ms, nothing, _), (_, begin, _) in moved.values():
        assert length_ms <= math.ceil(1000 * AAC_FRAME / 48000) and (nothing, begin) == (-1, 0)


def test_sessions_of_different_kinds(tmp_path: Path, made: Made, other: list[PackagedChunk]) -> None:
    output = Output(str(tmp_path / "out"), {}, tmp_path)
    publish(output, made.chunks, made.chunks, other)
    store = output.store(PATH)
    with pytest.raises(
        UsageError,
        match=r"the periods p0\+p1, p2 have different formats, which one file cannot hold; split=True writes",
    ):
        export(store, tmp_path / "a.mp4")
    assert not (tmp_path / "a.mp4").exists()
    written = export(store, tmp_path / "a.mp4", split=True)
    assert [path.name for path, _ in written] == ["a-p0.mp4", "a-p2.mp4"]
    assert len(pictures(tmp_path / "a-p0.mp4")) == 2 * FRAMES
    assert [number for _, number, _ in pictures(tmp_path / "a-p2.mp4")] == list(range(25))


def test_what_is_missing_or_damaged_leaves_no_file(tmp_path: Path, made: Made) -> None:
    output = Output(str(tmp_path / "out"), {}, tmp_path)
    publish(output, made.chunks)
    segment = tmp_path / "out" / PATH / "p0/large/30030.m4s"
    data = segment.read_bytes()
    segment.write_bytes(data[:-100])
    with pytest.raises(MediaError, match="p0/large/30030.m4s: truncated MP4"):
        export(output.store(PATH), tmp_path / "a.mp4")
    segment.unlink()
    with pytest.raises(OutputError, match=r"p0/large/30030.m4s is missing; Broadcast.verify\(\) lists"):
        export(output.store(PATH), tmp_path / "a.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_objects_that_were_put_back_wrongly_are_told(tmp_path: Path, made: Made) -> None:
    output = Output(str(tmp_path / "out"), {}, tmp_path / "spool")
    publish(output, made.chunks)
    store = output.store(PATH)
    for rendition in ("large", "audio"):
        names = [n for n in store.names() if f"/{rendition}/" in n and n.endswith(".m4s")]
        before, other = store.get(names[0]), store.get(names[1])
        assert before is not None and other is not None
        store.put(names[0], other)
        with pytest.raises(MediaError, match=f"{names[0]}: a fragment starts at [0-9]+ instead of [0-9]+"):
            export(store, tmp_path / "a.mp4")
        store.put(names[0], before)
    init = store.get("p0/large/init.mp4") or b""
    store.put("p0/large/init.mp4", init.replace(b"trak", b"free"))
    with pytest.raises(MediaError):
        export(store, tmp_path / "a.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_no_device_is_replaced_by_a_file(tmp_path: Path, made: Made) -> None:
    output = Output(str(tmp_path / "out"), {}, tmp_path / "spool")
    publish(output, made.chunks)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="pipe is not a regular file; choose another name"):
        export(output.store(PATH), tmp_path / "pipe", overwrite=True)
    assert (tmp_path / "pipe").is_fifo()
    with pytest.raises(OutputError, match="File name too long"):
        export(output.store(PATH), tmp_path / ("a" * 300), overwrite=True)


def test_no_space(tmp_path: Path, made: Made) -> None:
    output = Output(str(tmp_path / "out"), {}, tmp_path)
    publish(output, *[made.chunks] * 4)
    cli = Cli(tmp_path, {"OUTPUT_DIR": str(tmp_path / "out")})
    (tmp_path / "disk").mkdir()
    user = ["--user", "--map-root-user"] if os.geteuid() else []
    script = 'mount -t tmpfs -o size=60k tmpfs disk || exit 99; "$@"; code=$?; ls -A disk >listing; exit $code'
    command = [str(PROGRAMS / "streamwave"), "broadcasts", "export", PATH, "--to", "disk/a.mp4"]
    done = cli.run("--mount", *user, "sh", "-c", script, "sh", *command, program="/usr/bin/unshare")
    assert done.code == 1, done
    assert done.err.strip().endswith("disk/a.mp4 cannot be written (no space left; free some or choose another place)")
    assert (tmp_path / "listing").read_text() == ""
