"""catch-up: an output that has lost objects of a recording gets them back, or is not said to have all of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from streamwave.broadcasts import catalog
from streamwave.broadcasts.catch_up import Outcome, catch_up, source_of
from streamwave.config.settings import Settings
from streamwave.layout import MANIFEST
from streamwave.manifest.packaged import PackagedChunk
from streamwave.verify import verify_broadcast
from tests.support.cli import LADDER
from tests.support.media import make_clip
from tests.support.published import CREATED_MS, PATH, packaged, publish

LOST, CUT = "p0/large/25000.m4s", "p0/audio/0.m4s"


@pytest.fixture(scope="module")
def chunks(tmp_path_factory: pytest.TempPathFactory) -> list[PackagedChunk]:
    folder = tmp_path_factory.mktemp("chunks")
    return packaged(folder, make_clip(folder / "a.mp4", frames=60, gop=25))


@pytest.fixture
def settings(tmp_path: Path, chunks: list[PackagedChunk]) -> Settings:
    """Two outputs that hold the same recording."""
    chosen = Settings.load(
        env_file=None, state_dir=tmp_path, ladder=json.dumps(LADDER), output_dir=f"{tmp_path / 'a'}, {tmp_path / 'b'}"
    )
    for output in catalog.outputs(chosen):
        publish(output, chunks)
    return chosen


def caught_up(settings: Settings, *, read_all: bool = False) -> Outcome:
    output, found = source_of(catalog.find(catalog.outputs(settings), PATH, CREATED_MS)[0])
    return catch_up(output, found, settings.outputs, settings, pytest.fail, read_all=read_all)


def findings(settings: Settings) -> list[list[str]]:
    return [verify_broadcast(output.store(PATH)).findings for output in catalog.outputs(settings)]


def test_what_an_output_has_lost_comes_from_another(tmp_path: Path, settings: Settings) -> None:
    a, b = tmp_path / "a" / PATH, tmp_path / "b" / PATH
    (b / LOST).unlink()
    (b / CUT).write_bytes((b / CUT).read_bytes()[:100])
    (b / "small.m3u8").unlink()
    (a / "p0/small/init.mp4").unlink()
    (a / MANIFEST).unlink()
    outcome = caught_up(settings)
    assert outcome == Outcome([str(a), str(b)], {})
    assert findings(settings) == [[], []]
    assert (b / LOST).read_bytes() == (a / LOST).read_bytes()


@pytest.mark.parametrize("loser", ["a", "b"])
def test_an_output_that_has_lost_its_ledger_gets_it_back(tmp_path: Path, settings: Settings, loser: str) -> None:
    """Also the first one, whose entry goes on to call it recorded."""
    a, b = tmp_path / "a" / PATH, tmp_path / "b" / PATH
    shutil.rmtree(tmp_path / loser / PATH / "ledger")
    outcome = caught_up(settings)
    assert outcome == Outcome([str(a), str(b)], {})
    assert findings(settings) == [[], []]


def test_what_another_program_has_left_stays(tmp_path: Path, settings: Settings) -> None:
    a, b = tmp_path / "a" / PATH, tmp_path / "b" / PATH
    shutil.rmtree(b / "ledger")
    (b / MANIFEST).write_text("<MPD/>")
    outcome = caught_up(settings)
    assert outcome.complete == [str(a)]
    assert "holds a manifest.mpd that another program wrote" in outcome.left_behind[str(b)]
    assert (b / MANIFEST).read_text() == "<MPD/>"


def test_what_has_changed_is_replaced_where_everything_is_read(tmp_path: Path, settings: Settings) -> None:
    """Of the right size, and only its digest tells."""
    a, b = tmp_path / "a" / PATH, tmp_path / "b" / PATH
    sound = (a / LOST).read_bytes()
    for root, name in ((a, LOST), (b, CUT), (b, "p0/small/init.mp4")):
        data = bytearray((root / name).read_bytes())
        data[-20] ^= 0x10
        (root / name).write_bytes(data)
    caught_up(settings)
    assert (a / LOST).read_bytes() != sound
    assert caught_up(settings, read_all=True) == Outcome([str(a), str(b)], {})
    assert findings(settings) == [[], []] and (a / LOST).read_bytes() == sound


def test_what_has_changed_everywhere_is_said(tmp_path: Path, settings: Settings) -> None:
    a, b = tmp_path / "a" / PATH, tmp_path / "b" / PATH
    for root in (a, b):
        data = bytearray((root / LOST).read_bytes())
        data[-20] ^= 0x10
        (root / LOST).write_bytes(data)
    told = [f"{LOST} at {place} was changed, and no other output has it unchanged" for place in (a, b)]
    assert list(caught_up(settings, read_all=True).left_behind.values()) == told


def test_what_no_output_has_is_said(tmp_path: Path, settings: Settings) -> None:
    a, b = tmp_path / "a" / PATH, tmp_path / "b" / PATH
    (a / LOST).write_bytes(b"")
    (b / LOST).unlink()
    outcome = caught_up(settings)
    assert outcome.complete == []
    assert outcome.left_behind == {str(place): f"{place} lacks {LOST}, and no other output has it" for place in (a, b)}


def test_manifests_that_were_changed_are_written_again_where_everything_is_read(
    tmp_path: Path, settings: Settings
) -> None:
    b = tmp_path / "b" / PATH
    good = {name: (b / name).read_bytes() for name in ("small.m3u8", "master.m3u8", MANIFEST)}
    (b / "small.m3u8").write_bytes(good["small.m3u8"].replace(b"TARGETDURATION:1", b"TARGETDURATION:0"))
    (b / "master.m3u8").write_text("garbage")
    (b / MANIFEST).write_text("<x/>")
    assert findings(settings)[1]
    assert caught_up(settings, read_all=True).left_behind == {}
    assert findings(settings) == [[], []]
    assert (b / "small.m3u8").read_bytes() == good["small.m3u8"]
