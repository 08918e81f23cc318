"""Which FFmpeg is chosen, and what is said when there is none."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from streamwave.errors import SettingsError
from streamwave.ffmpeg import locate as module
from streamwave.ffmpeg.locate import encoders, locate, parse_version
from streamwave.util import programs


def program(path: Path, prints: str) -> str:
    """A program at ``path`` that prints one text, whatever it is asked."""
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{prints}\nEND\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2026", (5, 1)),
        ("ffmpeg version n9.0.2-17-g2a571b6068 Copyright", (9, 0)),
        ("ffmpeg version 10.12 Copyright", (10, 12)),
        ("ffmpeg version N-118000-gabcdef Copyright\nlibavutil  59.  1.1\nlibavcodec     61. 33.100", (7, 0)),
        ("ffmpeg version unknown", None),
        ("GNU bash, version 5.2", None),
        ("", None),
    ],
)
def test_versions_are_read(banner: str, version: tuple[int, int] | None) -> None:
    assert parse_version(banner) == version


def test_the_system_ffmpeg_comes_first_and_has_what_is_needed() -> None:
    binary = locate()
    assert (binary.source, binary.path) == ("system", shutil.which("ffmpeg"))
    assert {"libx264", "aac"} <= encoders(binary)


@pytest.mark.parametrize("system", [None, "ffmpeg version 4.4 Copyright"])
def test_without_a_good_one_the_one_from_pip_is_used(
    system: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if system:
        program(tmp_path / "ffmpeg", system)
    monkeypatch.setenv("PATH", f"{tmp_path}")
    binary = locate()
    assert binary.source == "pip"
    assert binary.version >= module.MINIMUM_VERSION
    assert {"libx264", "aac"} <= encoders(binary)


def test_a_named_one_wins_over_the_system(tmp_path: Path) -> None:
    named = program(tmp_path / "mine", "ffmpeg version 6.1 Copyright")
    binary = locate(named)
    assert (binary.path, binary.version, binary.source) == (named, (6, 1), "FFMPEG_PATH")


def test_a_name_in_path_is_enough() -> None:
    assert locate("ffmpeg").path == shutil.which("ffmpeg")


@pytest.mark.parametrize(
    ("prints", "fault"),
    [
        ("ffmpeg version 5.0.3 Copyright", "which is FFmpeg 5.0: install FFmpeg 5.1 or newer"),
        ("hello", "which does not answer like FFmpeg: install FFmpeg 5.1 or newer"),
        (None, "which is not a program: install FFmpeg 5.1 or newer"),
    ],
)
def test_a_named_one_that_will_not_do_is_refused(prints: str | None, fault: str, tmp_path: Path) -> None:
    path = program(tmp_path / "mine", prints) if prints else str(tmp_path / "mine")
    with pytest.raises(SettingsError) as caught:
        locate(path)
    assert fault in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_none_at_all_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "_from_pip", lambda: None)
    with pytest.raises(SettingsError, match="no FFmpeg was found: install FFmpeg 5.1"):
        locate()


def test_a_program_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setattr(programs, "_ANSWER_TIMEOUT_S", 0.2)
    with pytest.raises(SettingsError, match="does not answer like FFmpeg"):
        locate(str(silent))
