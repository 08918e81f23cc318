"""A source that can wait is held while too many chunks wait for their consumer."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from streamwave.receive import back_pressure as module
from streamwave.receive.back_pressure import BackPressure
from streamwave.spool.options import Options


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.0)


@pytest.mark.parametrize(("numbered", "has_video"), [(False, True), (True, True), (False, False)])
def test_it_waits_until_a_chunk_is_taken(tmp_path: Path, numbered: bool, has_video: bool) -> None:
    before, folder = tmp_path / "000000", tmp_path / "000001"
    for one in (before, folder):
        one.mkdir()
    suffix = "mkv" if has_video else "aac"
    waiting = [(before if numbered else folder) / f"000000.{suffix}", folder / f"000001.{suffix}"]
    for path in waiting:
        path.touch()
    (folder / ("000000.aac" if has_video else "000000.mkv")).touch()  # does not count
    options = Options(source="file:x", spool=folder, max_ahead=2, numbered=numbered)
    relieved = []

    def relieve() -> None:
        relieved.append(len(waiting))
        if len(relieved) == 3:
            waiting.pop().unlink()

    BackPressure(folder, options, has_video=has_video, stop=Event(), relieve=relieve).wait()
    assert relieved == [2, 2, 2]


def test_it_does_not_wait_after_a_stop_nor_without_a_limit(tmp_path: Path) -> None:
    (tmp_path / "000000.mkv").touch()
    stop = Event()
    for ahead in (1, 0):
        options = Options(source="file:x", spool=tmp_path, max_ahead=ahead)
        BackPressure(tmp_path, options, has_video=True, stop=stop, relieve=stop.set).wait()
        assert stop.is_set() is (ahead == 1)
        stop.clear()
