"""Encrypted sources are called so, in one sentence; what is not encrypted beside it is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamwave.errors import SourceError
from streamwave.ffmpeg.probe import probe
from tests.support import encrypted
from tests.support.http import sent

NO_KEY = r" is encrypted \(DRM\), and there is no key here; "
SCHEMES = (b"cenc", b"cens", b"cbcs", b"cbc1")


def refused(url: str, what: str = "", remedy: str = "decrypt it with its key first") -> str:
    with pytest.raises(SourceError, match=f"{what}{NO_KEY}{remedy}") as caught:
        probe(url)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("options", [(), encrypted.FRAGMENTED], ids=["plain", "fragmented"])
def test_mp4_as_ffmpeg_encrypts_it(tmp_path: Path, options: tuple[str, ...]) -> None:
    path = encrypted.by_ffmpeg(tmp_path / "a.mp4", *options)
    made = path.read_bytes()
    for scheme in SCHEMES:
        path.write_bytes(made.replace(b"schm\0\0\0\0cenc", b"schm\0\0\0\0" + scheme))
        assert refused(f"file:{path}").startswith(f"{path} is encrypted")


@pytest.mark.parametrize("options", [(), encrypted.FRAGMENTED], ids=["plain", "fragmented"])
def test_one_track_of_mp4(tmp_path: Path, options: tuple[str, ...]) -> None:
    made = encrypted.clear(tmp_path / "a.mp4", *options).read_bytes()
    for scheme in SCHEMES:
        for number, kind in enumerate(("video", "audio")):
            path = tmp_path / f"{kind}.mp4"
            path.write_bytes(made)
            refused(f"file:{encrypted.mp4(path, scheme, number)}", f"{path.name}: its {kind}")


def test_sound_alone(tmp_path: Path) -> None:
    path = encrypted.clear(tmp_path / "a.m4a", video=False)
    refused(f"file:{encrypted.mp4(path, b'cbcs', 0)}")
    refused(f"file:{encrypted.matroska(encrypted.clear(tmp_path / 'a.mka', video=False), 0)}")


@pytest.mark.parametrize("key_id", [True, False])
@pytest.mark.parametrize(("suffix", "codecs"), [("mkv", ()), ("webm", ("-c:v", "libvpx", "-c:a", "libopus"))])
def test_matroska(tmp_path: Path, suffix: str, codecs: tuple[str, ...], key_id: bool) -> None:
    made = encrypted.clear(tmp_path / f"a.{suffix}", *codecs).read_bytes()
    for name, tracks, what in (("v", (0,), ": its video"), ("s", (1,), ": its audio"), ("b", (0, 1), "")):
        path = tmp_path / f"{name}.{suffix}"
        path.write_bytes(made)
        refused(f"file:{encrypted.matroska(path, *tracks, key_id=key_id)}", path.name + what)


def test_nothing_is_made_up_of_clear_files(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv"):
        info = probe(f"file:{encrypted.clear(tmp_path / name)}")
        assert info.video is not None and info.audio is not None and not info.encrypted
    again = encrypted.matroska(encrypted.clear(tmp_path / "b.mkv"))  # what the test writes is right
    assert probe(f"file:{again}").audio is not None


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_clear_sound_beside_encrypted(tmp_path: Path, suffix: str) -> None:
    encrypt = (lambda path, *tracks: encrypted.mp4(path, b"cenc", *tracks)) if suffix == "mp4" else encrypted.matroska
    path = encrypt(encrypted.clear(tmp_path / f"a.{suffix}", tones=(500, 1000)), 1)
    info = probe(f"file:{path}")
    assert (info.audio_number, info.encrypted, info.undecodable) == (2, (1,), ())
    with pytest.raises(SourceError, match=f"its audio{NO_KEY}choose audio track 2"):
        probe(f"file:{path}", audio_track=0)


def test_at_a_web_server(tmp_path: Path) -> None:
    front = ("-movflags", "+faststart")
    both = encrypted.by_ffmpeg(tmp_path / "a.mp4", *front)
    sound = encrypted.by_ffmpeg(tmp_path / "a.m4a", *front, video=False)
    made = encrypted.clear(tmp_path / "a.webm", "-c:v", "libvpx", "-c:a", "libopus")
    for path in (both, sound, encrypted.matroska(made, 1)):
        with sent(path.read_bytes(), path.name) as url:
            refused(url)
