"""verify: silent about what is whole, and one line for each thing that is not, whatever it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from streamwave.catalog import Output
from streamwave.errors import OutputError
from streamwave.mp4.boxes import need
from streamwave.package import PackagedChunk
from streamwave.verify import verify_broadcast
from tests.support.media import make_clip
from tests.support.published import AUDIO, CREATED_MS, PATH, SMALL, packaged, publish


@pytest.fixture(scope="module")
def chunks(tmp_path_factory: pytest.TempPathFactory) -> list[PackagedChunk]:
    folder = tmp_path_factory.mktemp("chunks")
    return packaged(folder, make_clip(folder / "a.mp4", frames=60, gop=25))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> list[PackagedChunk]:
    """Another session: without the large rendition, and without B-frames."""
    folder = tmp_path_factory.mktemp("other")
    return packaged(folder, make_clip(folder / "a.mp4", frames=25, gop=25), (SMALL, AUDIO), b_frames=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, chunks: list[PackagedChunk], other: list[PackagedChunk]) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    publish(Output(str(folder), {}, folder), chunks, other)
    return folder / PATH


@pytest.mark.parametrize("scheme", ["local", "memory"])
@pytest.mark.parametrize("finish", [True, False], ids=["recorded", "live"])
def test_nothing_to_find(
    tmp_path: Path, scheme: str, finish: bool, chunks: list[PackagedChunk], other: list[PackagedChunk]
) -> None:
    url = str(tmp_path) if scheme == "local" else f"memory://{tmp_path.name}-{finish}"
    output = Output(url, {}, tmp_path)
    publish(output, chunks, other, finish=finish)
    told: list[tuple[int, int]] = []
    verdict = verify_broadcast(output.store(PATH), progress=lambda done, total: told.append((done, total)))
    assert verdict.findings == [] and verdict.live is not finish
    assert {name: report.samples for name, report in verdict.renditions.items()} == {
        "large": 60, "small": 85, "audio": aac_frames(chunks) + aac_frames(other)
    }  # fmt: skip
    total = sum(len(t.segments) for chunk in [*chunks, *other] for t in chunk.tracks)
    assert told == [(n, total) for n in range(1, total + 1)]


def aac_frames(chunks: list[PackagedChunk]) -> int:
    return sum(s.duration // 1024 for chunk in chunks for t in chunk.tracks if t.timescale == 48000 for s in t.segments)


def test_a_dvr_window_is_not_a_fault(tmp_path: Path, chunks: list[PackagedChunk]) -> None:
    output = Output(str(tmp_path), {}, tmp_path)
    publish(output, chunks, finish=False, dvr_window_ms=1000, created_ms=CREATED_MS)
    verdict = verify_broadcast(output.store(PATH))
    assert verdict.findings == [] and verdict.renditions["large"].samples == 35


SEGMENT = "p0/large/25000.m4s"


def missing(root: Path) -> None:
    (root / SEGMENT).unlink()


def cut_off(root: Path) -> None:
    data = (root / SEGMENT).read_bytes()
    (root / SEGMENT).write_bytes(data[: len(data) // 2])


def empty(root: Path) -> None:
    (root / SEGMENT).write_bytes(b"")


def of_another_time(root: Path) -> None:
    shutil.copy(root / "p0/large/0.m4s", root / SEGMENT)


def of_another_rendition(root: Path) -> None:
    shutil.copy(root / "p0/small/25000.m4s", root / SEGMENT)


def garbled(root: Path) -> None:
    data = bytearray((root / SEGMENT).read_bytes())
    start = need(bytes(data), "mdat").payload
    # Behind the first picture: that it is an IDR picture can be seen without decoding.
    for at in range((start + len(data)) // 2, len(data) - 40, 7):
        data[at] ^= 0x5A
    (root / SEGMENT).write_bytes(data)


def no_init(root: Path) -> None:
    (root / "p0/audio/init.mp4").unlink()


def hole(root: Path) -> None:
    text = (root / "manifest.mpd").read_text()
    assert text.count('<S t="0" d="25000" r="1" />') == 1
    (root / "manifest.mpd").write_text(text.replace('<S t="0" d="25000" r="1" />', '<S t="0" d="25000" />', 1))


def short_playlist(root: Path) -> None:
    lines = (root / "audio.m3u8").read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.endswith(".m4s"))
    (root / "audio.m3u8").write_text("\n".join(lines[: at - 1] + lines[at + 1 :]) + "\n")


def wrong_length(root: Path) -> None:
    text = (root / "small.m3u8").read_text()
    (root / "small.m3u8").write_text(text.replace("#EXTINF:1.000000,", "#EXTINF:1.010000,", 1))


def lines_of_segments(text: str) -> tuple[list[str], int]:
    lines = text.splitlines()
    return lines, next(number for number, line in enumerate(lines) if line.startswith("#EXTINF"))


def mixed_up_playlist(root: Path) -> None:
    lines, at = lines_of_segments((root / "small.m3u8").read_text())
    lines[at + 1], lines[at + 3] = lines[at + 3], lines[at + 1]
    (root / "small.m3u8").write_text("\n".join(lines) + "\n")


def stuttering_playlist(root: Path) -> None:
    lines, at = lines_of_segments((root / "small.m3u8").read_text())
    (root / "small.m3u8").write_text("\n".join(lines[: at + 2] + lines[at:]) + "\n")


def no_playlist(root: Path) -> None:
    (root / "small.m3u8").unlink()


def no_master(root: Path) -> None:
    (root / "master.m3u8").unlink()


def half_a_manifest(root: Path) -> None:
    data = (root / "manifest.mpd").read_bytes()
    (root / "manifest.mpd").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (missing, f"{SEGMENT}: it is missing"),
        (cut_off, f"{SEGMENT}: truncated MP4"),
        (empty, f"{SEGMENT}: truncated MP4: it has no moof"),
        (of_another_time, f"{SEGMENT}: a fragment is at 0, 25000 was due"),
        (of_another_rendition, f"{SEGMENT}: it does not decode"),
        (garbled, f"{SEGMENT}: "),
        (no_init, "p0/audio/init.mp4: it is missing, and with it all of its rendition"),
        (hole, "p0/large/50000.m4s: it is in a playlist and not in manifest.mpd"),
        (short_playlist, "p0/audio/0.m4s: it is in manifest.mpd and in no playlist"),
        (wrong_length, "small.m3u8: p0/small/0.m4s lasts 1.010000 s in it, 1.000000 s were due"),
        (mixed_up_playlist, "small.m3u8: p0/small/0.m4s comes after p0/small/25000.m4s"),
        (stuttering_playlist, "small.m3u8: p0/small/0.m4s comes twice"),
        (no_playlist, "small.m3u8: it is missing"),
        (no_master, "master.m3u8: it is missing"),
        (half_a_manifest, "manifest.mpd: the manifest is not XML"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_line_for_each_fault(tmp_path: Path, whole: Path, damage: Callable[[Path], None], finding: str) -> None:
    root = tmp_path / "broadcast"
    shutil.copytree(whole, root)
    damage(root)
    verdict = verify_broadcast(Output(str(root), {}, root).store())
    assert any(line.startswith(finding) for line in verdict.findings), verdict.findings
    assert all("\n" not in line for line in verdict.findings)
    if damage in (missing, cut_off, empty, of_another_time, of_another_rendition, garbled):
        # One fault, one line; and the rest was checked all the same.
        assert len(verdict.findings) == 1 and verdict.renditions["large"].samples == 35


def test_without_decoding_damaged_pictures_go_unseen(tmp_path: Path, whole: Path) -> None:
    root = tmp_path / "broadcast"
    shutil.copytree(whole, root)
    garbled(root)
    assert verify_broadcast(Output(str(root), {}, root).store(), decode=False).findings == []


def test_what_is_no_broadcast(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="holds no manifest: it is no broadcast"):
        verify_broadcast(Output(str(tmp_path), {}, tmp_path).store())
