"""Which sources may be opened, and that nothing secret of them is shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamwave.errors import SourceError
from streamwave.ffmpeg.remedies import how_to_fix, unreachable
from streamwave.sources.address import PROTOCOLS, is_stream_name, protocol_whitelist, redact, resolve_source


def test_files_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a b.mp4").touch()
    (tmp_path / "movie: part 1.mp4").touch()
    (tmp_path / "link.mp4").symlink_to("a b.mp4")
    monkeypatch.chdir(tmp_path)
    assert resolve_source("a b.mp4") == f"file://{tmp_path}/a%20b.mp4"
    assert resolve_source("link.mp4") == f"file://{tmp_path}/a%20b.mp4"
    # A path that exists is one, also if it looks like a URL.
    assert resolve_source("movie: part 1.mp4") == (tmp_path / "movie: part 1.mp4").as_uri()
    assert resolve_source(f"file://{tmp_path}/link.mp4") == f"file://{tmp_path}/a%20b.mp4"
    assert resolve_source(f"file:{tmp_path}/link.mp4") == f"file://{tmp_path}/a%20b.mp4"


@pytest.mark.parametrize("url", ["rtmp://h/a/b", "rtmps://h/a", "srt://h:9", "http://h/x.mp4?k=v", "https://u:p@h/x"])
def test_allowed_addresses_stay_as_they_are(url: str) -> None:
    assert resolve_source(url) == url
    assert "file" not in protocol_whitelist(url).split(",")


@pytest.mark.parametrize(
    "source",
    ["concat:a|b", "data:video/mp4;base64,AAAA", "gopher://h/x", "subfile,,start,0,end,9,,:a", "ftp://h/x", "tcp://h:1",
     "crypto:a", "http:", "http://", "pipe:0", "fd:0", "async:file:a", "unix:/run/x", "lavfi:testsrc", "C:\\film.mp4"],
)  # fmt: skip
def test_other_schemes_are_refused(source: str) -> None:
    with pytest.raises(SourceError, match="are not allowed; use a file or rtmp://"):
        resolve_source(source)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, message in (("none.mp4", "no file"), ("", "folder"), ("pipe", "not a regular file"), ("loop", "no file")):
        with pytest.raises(SourceError, match=message):
            resolve_source(str(tmp_path / name))


def test_confined_to_roots(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.mp4").touch()
    (inside / "escape.mp4").symlink_to(outside / "a.mp4")
    assert resolve_source(str(inside / "a.mp4"), [inside])
    for path in (outside / "a.mp4", inside / "escape.mp4", inside / ".." / "out" / "a.mp4"):
        with pytest.raises(SourceError, match="STREAMWAVE_ALLOWED_FILE_ROOTS"):
            resolve_source(str(path), [inside])
    with pytest.raises(SourceError, match="STREAMWAVE_ALLOWED_FILE_ROOTS"):
        resolve_source(str(inside / "a.mp4"), [])


def test_every_scheme_may_use_only_what_carries_it() -> None:
    for scheme, allowed in PROTOCOLS.items():
        assert scheme in allowed.split(",")
        assert not {"concat", "data", "subfile", "pipe"} & set(allowed.split(","))
        # Segments of playlists, which are reached over HTTP, may be encrypted.
        assert ("crypto" in allowed.split(",")) == scheme.startswith("http")
        assert scheme == "file" or "file" not in allowed.split(",")


def test_an_address_that_is_none() -> None:
    for bad in ("http://[x/", "rtmp://[::1", "http://", "srt:"):
        with pytest.raises(SourceError, match="not allowed"):
            resolve_source(bad)
    for bad in ("file://[x", "file://[::1/a.mp4", "file:////[x"):
        with pytest.raises(SourceError, match="no file"):
            resolve_source(bad)


def test_secrets_are_not_shown() -> None:
    assert redact("rtmp://user:pass@host:1935/live/key?token=s") == "rtmp://host:1935/live/***"
    assert redact("RTMPS://host/app/instance/key/") == "rtmps://host/app/***"
    assert redact("rtmp://host/key") == "rtmp://host/***"
    assert redact("rtmp://host:1935/") == "rtmp://host:1935/"
    assert redact("srt://user:pass@[::1]:9000?passphrase=secret&streamid=key") == "srt://[::1]:9000"
    assert redact("http://user:pass@host:port/x") == "http://host:port/x"
    assert redact("https://u:p@h/x.mp4?sig=abc#f") == "https://h/x.mp4"
    assert redact("file:/films/a.mp4") == "file:/films/a.mp4"
    for bad in ("rtmp://user:pass@[host/live/key", "http://h]/x?sig=abc", "//[user:pass@x"):
        assert redact(bad) == "***"


def test_stream_names() -> None:
    assert all(map(is_stream_name, ["a", "0", "my-show_2", "a" * 64]))
    assert not any(map(is_stream_name, ["", "A", "-a", "a b", "../a", "a" * 65, "ä", "a\n", "a/b", "%2e"]))


def test_what_can_be_done_depends_on_what_it_is() -> None:
    assert how_to_fix("file:///a.mp4").startswith("try to play it first: if that fails, copy it again")
    for url in ("rtmp://h/live/key", "srt://h:9"):
        assert "play" not in how_to_fix(url) and "encoder" in how_to_fix(url)
    assert "page" in how_to_fix("https://h/x")
    assert "the host no-such-host.invalid cannot be resolved" in unreachable(
        "rtmp://no-such-host.invalid/a", "Input/output error"
    )
    assert "check in a browser" in unreachable("http://127.0.0.1/a", "Server returned 404 Not Found")
    assert "passphrase" in unreachable("srt://127.0.0.1:9", "Input/output error")
    assert "passphrase" not in unreachable("rtmp://127.0.0.1/a", "Connection refused")
