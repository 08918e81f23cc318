"""verify: silent about what is whole, and one line for each thing that is not, whatever it is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from streamwave.broadcasts.catalog import Output
from streamwave.broadcasts.check import check_entry
from streamwave.broadcasts.index import update_at
from streamwave.broadcasts.thumbnail import first_picture
from streamwave.errors import OutputError
from streamwave.layout import MANIFEST, segment_name
from streamwave.manifest.lines import BroadcastLine
from streamwave.manifest.packaged import PackagedChunk
from streamwave.mp4.boxes import need
from streamwave.publish.publication import Publication
from streamwave.spool.broadcast import BroadcastInfo
from streamwave.storage.store import LocalStore
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


class _Full(LocalStore):
    """Has room for everything but the manifest."""

    full = False

    def put(self, name: str, data: bytes) -> None:
        if self.full and name == MANIFEST:
            raise OutputError("no space left")
        super().put(name, data)


def test_playlists_that_are_ahead_while_the_disk_is_full_are_no_fault(
    tmp_path: Path, chunks: list[PackagedChunk]
) -> None:
    store = _Full(tmp_path / "out")
    published = Publication(store, manifests=True, token="t")
    published.begin(BroadcastLine(created_unix_ms=CREATED_MS, segment_ms=1000, fingerprint="f"))
    published.publish(chunks[0], "000000", "p0", CREATED_MS)
    behind = (store.root / MANIFEST).read_bytes()
    store.full = True
    with pytest.raises(OutputError, match="no space left"):
        published.publish(chunks[1], "000000", "p0", CREATED_MS)
    ahead = segment_name("p0", "large", chunks[1].tracks[0].segments[0].time)
    assert ahead in (store.root / "large.m3u8").read_text()
    assert verify_broadcast(store).findings == []
    store.full = False
    published.publish(chunks[1], "000000", "p0", CREATED_MS)
    assert verify_broadcast(store).findings == []
    (store.root / MANIFEST).write_bytes(behind)
    assert f"{ahead}: in a playlist but not in {MANIFEST}" in verify_broadcast(store).findings
    published.close()


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


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    """A damage: ``old``, a regular expression, of an object becomes ``new``, once."""

    def damage(root: Path) -> None:
        text, count = re.subn(old, new, (root / name).read_text(), count=1)
        assert count == 1
        (root / name).write_text(text)

    return damage


def no_ledger(root: Path) -> None:
    shutil.rmtree(root / "ledger")


def unreadable_ledger(root: Path) -> None:
    (root / "ledger/000000.jsonl").write_bytes(b"\0" * 500)


def ledger_without_its_last_chunks(root: Path) -> None:
    lines = (root / "ledger/000000.jsonl").read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if '"name":"p1"' in line)
    (root / "ledger/000000.jsonl").write_text("\n".join([*lines[:at], lines[-1]]) + "\n")


def ledger_without_an_end(root: Path) -> None:
    lines = (root / "ledger/000000.jsonl").read_text().splitlines()
    (root / "ledger/000000.jsonl").write_text("\n".join(lines[:-1]) + "\n")


def no_live_manifest(root: Path) -> None:
    (root / "manifest.live.mpd").unlink()


def half_a_live_manifest(root: Path) -> None:
    data = (root / "manifest.live.mpd").read_bytes()
    (root / "manifest.live.mpd").write_bytes(data[: len(data) // 2])


def flipped(root: Path) -> None:
    """A bit of what the encoder says of itself: everything decodes as before."""
    data = bytearray((root / FIRST).read_bytes())
    data[data.index(b"x264 - core")] ^= 1
    (root / FIRST).write_bytes(data)


FIRST = "p0/large/0.m4s"


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (replaced("small.m3u8", r"TARGETDURATION:\d+", "TARGETDURATION:0"), "small.m3u8: EXT-X-TARGETDURATION is 0 s"),
        (
            replaced("small.m3u8", r"TARGETDURATION:\d+", "TARGETDURATION:99"),
            "small.m3u8: EXT-X-TARGETDURATION is 99 s",
        ),
        (replaced("small.m3u8", r"#EXT-X-TARGETDURATION:\d+\n", ""), "small.m3u8: has no EXT-X-TARGETDURATION"),
        (
            replaced("manifest.mpd", 'mediaPresentationDuration="[^"]*"', 'mediaPresentationDuration="PT1M2S"'),
            "manifest.mpd: mediaPresentationDuration is 62.000 s",
        ),
        (
            replaced("manifest.mpd", 'mediaPresentationDuration="[^"]*" ', ""),
            "manifest.mpd: has no mediaPresentationDuration",
        ),
        (no_ledger, "ledger: missing"),
        (unreadable_ledger, "ledger: unreadable"),
        (ledger_without_its_last_chunks, "p1/audio/0.m4s: in the manifests but not in the ledger"),
        (ledger_without_an_end, "ledger: has no end"),
        (no_live_manifest, "manifest.live.mpd: missing"),
        (half_a_live_manifest, "manifest.live.mpd: the manifest is not XML"),
        (
            replaced("manifest.live.mpd", r'(<S t="0" d="25000") r="1"', r"\1"),
            "manifest.live.mpd: lacks p0/large/50000",
        ),
        (
            replaced("manifest.live.mpd", 'mediaPresentationDuration="[^"]*"', 'mediaPresentationDuration="PT1S"'),
            "manifest.live.mpd: mediaPresentationDuration is 1.000 s",
        ),
        (
            replaced("manifest.mpd", 'bandwidth="[^"]*"', 'bandwidth="100"'),
            "manifest.mpd: large in period p0 states bandwidth 100 bit/s, but its media need ",
        ),
        (
            replaced("manifest.mpd", 'bandwidth="[^"]*"', 'bandwidth="99000000"'),
            "manifest.mpd: large in period p0 states bandwidth 99000000 bit/s, but its media need at most ",
        ),
        (
            replaced("manifest.mpd", 'codecs="avc1[^"]*"', 'codecs="avc1.640033"'),
            "manifest.mpd: large in period p0 states codecs avc1.640033, but its media have avc1.",
        ),
        (
            replaced("manifest.mpd", ' width="160"', ' width="1920"'),
            "manifest.mpd: large in period p0 states size 1920x90, but its media have 160x90",
        ),
        (
            replaced("manifest.mpd", 'audioSamplingRate="48000"', 'audioSamplingRate="44100"'),
            "manifest.mpd: audio in period p0 states sampling rate 44100, but its media have 48000",
        ),
        (
            replaced("master.m3u8", ":BANDWIDTH=\\d+", ":BANDWIDTH=5"),
            "master.m3u8: large.m3u8 states BANDWIDTH 5 bit/s, but its media need ",
        ),
        (
            replaced("master.m3u8", ":BANDWIDTH=\\d+", ":BANDWIDTH=55000000"),
            "master.m3u8: large.m3u8 states BANDWIDTH 55000000 bit/s, but its media need at most ",
        ),
        (replaced("master.m3u8", ":BANDWIDTH=\\d+", ":BANDWIDTH=x"), "master.m3u8: BANDWIDTH is 'x'"),
        (
            replaced("master.m3u8", "mp4a.40.2", "mp4a.40.5"),
            "master.m3u8: large.m3u8 states CODECS avc1.",
        ),
        (
            replaced("master.m3u8", "RESOLUTION=160x90", "RESOLUTION=1280x720"),
            "master.m3u8: large.m3u8 states RESOLUTION 1280x720, but its media have 160x90",
        ),
        (
            replaced("master.m3u8", "RESOLUTION=160x90", "RESOLUTION=106x60"),
            "master.m3u8: large.m3u8 states RESOLUTION 106x60, but its media have 160x90",
        ),
        (flipped, f"{FIRST}: its content was changed"),
        (missing, f"{SEGMENT}: missing"),
        (cut_off, f"{SEGMENT}: truncated MP4"),
        (empty, f"{SEGMENT}: truncated MP4: it has no moof"),
        (of_another_time, f"{SEGMENT}: a fragment starts at 0 instead of 25000"),
        (of_another_rendition, f"{SEGMENT}: does not decode"),
        (garbled, f"{SEGMENT}: "),
        (no_init, "p0/audio/init.mp4: missing, so its rendition cannot be read"),
        (hole, "p0/large/50000.m4s: in a playlist but not in manifest.mpd"),
        (short_playlist, "p0/audio/0.m4s: in manifest.mpd but in no playlist"),
        (wrong_length, "small.m3u8: EXTINF of p0/small/0.m4s is 1.010000 s instead of 1.000000 s"),
        (mixed_up_playlist, "small.m3u8: p0/small/0.m4s is listed after p0/small/25000.m4s"),
        (stuttering_playlist, "small.m3u8: p0/small/0.m4s is listed twice"),
        (no_playlist, "small.m3u8: missing"),
        (no_master, "master.m3u8: missing"),
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


def test_without_decoding_the_digest_tells_of_damaged_pictures(tmp_path: Path, whole: Path) -> None:
    root = tmp_path / "broadcast"
    shutil.copytree(whole, root)
    garbled(root)
    (finding,) = verify_broadcast(Output(str(root), {}, root).store(), decode=False).findings
    assert finding == f"{SEGMENT}: its content was changed: the ledger has another digest"


def test_a_ledger_of_an_earlier_version_has_no_digests(tmp_path: Path, whole: Path) -> None:
    root = tmp_path / "broadcast"
    shutil.copytree(whole, root)
    text = (root / "ledger/000000.jsonl").read_text()
    assert '"digests":{' in text
    (root / "ledger/000000.jsonl").write_text(re.sub(r',"digests":\{[^}]*\}', "", text))
    garbled(root)
    assert verify_broadcast(Output(str(root), {}, root).store(), decode=False).findings == []
    cut_off(root)
    assert len(verify_broadcast(Output(str(root), {}, root).store()).findings) == 1


def no_entry(root: Path) -> None:
    (root / PATH / "broadcast.json").unlink()


def other_list(root: Path) -> None:
    (root / "broadcasts.json").write_text('{"broadcasts": []}')


def no_list(root: Path) -> None:
    (root / "broadcasts.json").unlink()


def no_thumbnail(root: Path) -> None:
    (root / PATH / "thumbnail.jpg").unlink()


def half_a_thumbnail(root: Path) -> None:
    (root / PATH / "thumbnail.jpg").write_bytes(b"\xff\xd8\xff\xe0")


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (lambda root: None, None),
        (no_entry, "broadcast.json: missing or unreadable"),
        (replaced(f"{PATH}/broadcast.json", '"ended"', '"live"'), "broadcast.json: the state is live"),
        (other_list, "broadcasts.json: the broadcast is not listed"),
        (no_list, "broadcasts.json: the broadcast is not listed"),
        (no_thumbnail, "thumbnail.jpg: missing"),
        (half_a_thumbnail, "thumbnail.jpg: not an image"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_leads_to_a_broadcast(
    tmp_path: Path, chunks: list[PackagedChunk], damage: Callable[[Path], None], finding: str | None
) -> None:
    output = Output(str(tmp_path), {}, tmp_path)
    store = output.store(PATH)
    published = publish(output, chunks)
    picture = first_picture(store, published.timeline)
    assert picture is not None
    store.put("thumbnail.jpg", picture)
    info = BroadcastInfo(stream="stage", broadcast=PATH[6:], created_unix_ms=CREATED_MS, output=store.url)
    update_at(published, info, output.store())
    damage(tmp_path)
    found = check_entry(output.store(), store, PATH, live=False)
    assert [line[: len(finding or "")] for line in found] == ([finding] if finding else []), found


def test_what_is_no_broadcast(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="has no manifest: it is not a broadcast"):
        verify_broadcast(Output(str(tmp_path), {}, tmp_path).store())
