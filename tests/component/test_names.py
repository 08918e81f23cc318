"""Names of files are taken as they are, and shown so that they do no harm where they are read."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamwave.errors import SourceError
from streamwave.ffmpeg import probing
from streamwave.ffmpeg.probe import describe, open_source
from streamwave.ffmpeg.tracks import tracks
from streamwave.model import SourceInfo
from streamwave.receive.launch import start_segmenter
from streamwave.sources.address import local_path, resolve_source, shown
from streamwave.spool.options import Options
from tests.support.media import Clip, make_clip
from tests.support.names import ODD_NAMES
from tests.support.segmented import read

FRAMES = 25


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=FRAMES)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(clip: Clip, folder: Path, name: str) -> Path:
    """A file of that name, which is the clip."""
    path = folder / name
    os.link(clip.path, path)
    return path


def harmless(text: str) -> bool:
    """One line without control characters, invisible ones, and marks that turn the direction of writing."""
    return text.isprintable() and not any(unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp") for one in text)


def ways(path: Path) -> Iterator[str]:
    """How a person or a program names a file."""
    yield str(path)
    yield f"./{path.name}"
    yield path.as_uri()
    yield f"file://localhost{path.as_uri().removeprefix('file://')}"
    yield f"file:{path}"
    if not path.name.startswith("file:"):
        yield path.name


def test_there_are_many() -> None:
    assert len(ODD_NAMES) == len({*ODD_NAMES.values()}) >= 60


@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES)
def test_each_name(clip: Clip, folder: Path, name: str) -> None:
    path = put(clip, folder, name)
    url = resolve_source(str(path))
    assert url.isascii() and url.isprintable() and resolve_source(url) == url
    assert local_path(url) == str(path)
    for way in ways(path):
        assert resolve_source(way, [folder]) == url, way
        with pytest.raises(SourceError, match="STREAMWAVE_ALLOWED_FILE_ROOTS") as refused:
            resolve_source(way, [folder / "other"])
        assert harmless(str(refused.value))
    # What is shown can be given again, unless it had to be cut.
    assert harmless(shown(url)) and len(shown(url)) <= 300
    assert "…" in shown(url) or resolve_source(shown(url)) == url
    with open_source(url) as container:
        info = describe(container, url)
        video, _ = tracks(container)
        assert sum(1 for packet in container.demux(video) if packet.size) == FRAMES
    assert SourceInfo.model_validate_json(info.model_dump_json()) == info
    assert shown(info.url) == shown(url)


@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES)
def test_each_name_that_is_not_there(folder: Path, name: str) -> None:
    for way in (str(folder / name), (folder / name).as_uri(), name):
        with pytest.raises(SourceError, match=r"there is no file .*|is a folder") as refused:
            resolve_source(way)
        assert harmless(str(refused.value)), str(refused.value)


def test_other_processes_get_them(clip: Clip, folder: Path) -> None:
    """The one that probes, and the segmenter: what they are told is JSON."""
    for number, name in enumerate(("latin-1", "newline", "bidi-override")):
        url = resolve_source(str(put(clip, folder, ODD_NAMES[name])))
        assert probing.probe(url).video is not None
        spool = folder / f"spool-{number}"
        process = start_segmenter(Options(source=url, spool=spool))
        assert process.wait(60) == 0
        found = read(spool)
        assert sum(chunk.pictures for chunk in found.chunks) == FRAMES
        assert all(harmless(line) for line in (spool / "segmenter.log").read_text().splitlines())


def test_two_files_that_a_url_may_mean(clip: Clip, folder: Path) -> None:
    """``file://`` begins a URL, in which percent signs are escapes; ``file:`` alone is what FFmpeg puts before a path."""
    encoded, plain = put(clip, folder, "a%20b.mp4"), put(clip, folder, "a b.mp4")
    assert local_path(resolve_source(f"file://{folder}/a%20b.mp4")) == str(plain)
    assert local_path(resolve_source(f"file://{folder}/a%2520b.mp4")) == str(encoded)
    assert local_path(resolve_source(f"file:{folder}/a%20b.mp4")) == str(encoded)
    plain.unlink()
    assert local_path(resolve_source(f"file://{folder}/a%20b.mp4")) == str(encoded)
    assert local_path(resolve_source(f"/{encoded}")) == str(encoded)  # two slashes


def test_nobody_learns_by_escapes_what_is_elsewhere(folder: Path) -> None:
    (folder / "in").mkdir()
    (folder / "kept").touch()
    answers = set()
    for name in ("kept", "gone"):
        for way in (f"file://{folder}/in/x%2F..%2F..%2F{name}", f"file://{folder}/in/..%2F{name}"):
            with pytest.raises(SourceError) as refused:
                resolve_source(way, [folder / "in"])
            answers.add(str(refused.value).replace(name, ""))
    assert len(answers) <= 2


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "the source is empty"),
        ("a\0b.mp4", "a%00b.mp4 is neither a file name"),
        ("a\ud800.mp4", "is neither a file name nor a URL"),
        ("x" * 5000, "is longer than the 4096 characters"),
        ("http://host/a\u202fb.mp4", "percent-encode them"),
        ("rtmp://host/live\n", "contains characters that a URL cannot"),
        ("file://films/a.mp4", "write file:///folder/film.mp4"),
        ("a:b.mp4", "there is no file a:b.mp4, and sources of type 'a' are not allowed"),
    ],
)
def test_what_is_no_name(source: str, said: str) -> None:
    with pytest.raises(SourceError) as refused:
        resolve_source(source)
    assert said in str(refused.value) and harmless(str(refused.value)), str(refused.value)


def test_what_is_shown() -> None:
    assert shown("file:///films/a%20b%25.mp4") == "/films/a b%.mp4"
    assert shown("/films/100%.mp4") == "/films/100%.mp4"
    assert shown("films/運動会.mp4") == "films/運動会.mp4"
    assert shown("a\u202f5%.mp4") == "file:a%E2%80%AF5%25.mp4"
    assert shown("/films/\udce9.mp4") == "file:///films/%E9.mp4"
    assert shown("http://u:p@host/a\u202eb?key") == "http://host/a%E2%80%AEb"
