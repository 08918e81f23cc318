"""Files of any name through the real commands: every frame arrives, and the terminal gets no control characters."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamwave.sources.address import shown
from tests.support.cli import Cli
from tests.support.media import Clip, ffmpeg, make_clip
from tests.support.names import ODD_NAMES
from tests.support.player import decode_pictures, representations

#: Nearly every odd character in one name.
ODD = os.fsdecode(b"-i [red]%03d\xe9\n\t\x1b[2J \xe2\x80\xae\xe2\x80\xaf#1?:warning:.mp4")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=50)


def printable(text: str) -> bool:
    """Check that the output is only printable text."""
    return all(line.isprintable() for line in text.split("\n"))


def whole(output: Path, clip: Clip) -> bool:
    """Check that every frame is in every rendition, once."""
    found = [one for one in representations(output).values() if one.kind == "video"]
    numbers = [[p.number for p in decode_pictures(one.data, one.timescale)] for one in found]
    return bool(numbers) and all(one == list(range(clip.frames)) for one in numbers)


def test_transcode(tmp_path: Path, clip: Clip, cli: Cli) -> None:
    """The file also causes a note, because its audio begins earlier; it is printed once, in the wording for files."""
    parts = ("-itsoffset", "2", "-i", str(clip.path), "-i", str(clip.path), "-map", "0:v", "-map", "1:a", "-c", "copy")
    ffmpeg(*parts, str(tmp_path / "early.mkv"))
    (tmp_path / "early.mkv").rename(tmp_path / ODD)
    done = cli.run("transcode", f"./{ODD}", "--output", "out")
    assert done.code == 0, done.err
    assert whole(tmp_path / "out", clip)
    assert printable(done.out + done.err)
    assert (done.out + done.err).count("the audio begins 2.") == 1 and "note: the audio begins" in done.out
    assert "to keep it, add video before the first frame" in done.out


@pytest.mark.parametrize("name", ["macos-recording", "two-dashes"])
def test_probe(tmp_path: Path, clip: Clip, name: str) -> None:
    cli = Cli(tmp_path)
    os.link(clip.path, tmp_path / ODD_NAMES[name])
    done = cli.run("probe", "--", ODD_NAMES[name])
    assert (done.code, done.err) == (0, "")
    assert printable(done.out) and shown((tmp_path / ODD_NAMES[name]).as_uri()) in done.out


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    """The error is one line, even on a terminal that supports only ASCII."""
    cli = Cli(tmp_path, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    done = cli.run("probe", "--", ODD)
    assert done.code == 2 and done.err.startswith("error: there is no file file:-i [red]%2503d%E9%0A")
    assert done.err.count("\n") == 1 and printable(done.err)
