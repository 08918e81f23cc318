"""Errors that new users meet: each is one line, and documented in docs/errors.md."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.commands import Command, run_all
from tests.support.errors_page import messages, pattern
from tests.support.media import ffmpeg, make_clip


class _Site(BaseHTTPRequestHandler):
    """Answers ``/404`` with that status."""

    def do_GET(self) -> None:
        self.send_error(int(self.path.strip("/")))

    def log_message(self, *_: object) -> None:
        """Don't log."""


@pytest.fixture
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def transcode(source: str, *more: str, **extra: str) -> Command:
    return Command(["transcode", source, *more], extra)


def command(*arguments: str, **extra: str) -> Command:
    return Command(arguments, extra)


def of_files(folder: Path) -> dict[str, Command]:
    """Commands with a bad file, by a part of the expected message."""
    film = make_clip(folder / "film.mp4", frames=50).path.read_bytes()
    (folder / "cut.mp4").write_bytes(film[: len(film) * 3 // 4])
    (folder / "empty.mp4").touch()
    (folder / "notes.txt").write_text("text\n" * 300)
    (folder / "films").mkdir()
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXTINF:9,\nfilm.mp4\n")
    (folder / "words.srt").write_text("1\n00:00:00,000 --> 00:00:02,000\nonly text\n")
    ffmpeg("-i", str(folder / "words.srt"), "-c:s", "srt", str(folder / "words.mkv"))
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", str(folder / "tone.wav"))
    return {
        "check the path": transcode("missing.mp4"),
        "the shell expands ~": transcode("~/film.mp4"),
        "write file:///": transcode("file://films/film.mp4"),
        "the source is empty": transcode(""),
        "4096": transcode("x" * 5000),
        "use a file or": transcode("ftp://host/film.mp4"),
        "is a folder": transcode("films"),
        "not a regular file": transcode("/dev/null"),
        "is empty (0 bytes)": transcode("empty.mp4"),
        "try to play it first": transcode("cut.mp4"),
        "of an unsupported kind": transcode("notes.txt"),
        "a list of other files": transcode("list.m3u8"),
        "neither video nor audio": transcode("words.mkv"),
        "there is no number 3": transcode("film.mp4", "--audio-track", "3"),
        "has no video": command("demo", "--source", "tone.wav"),
        "check the path; ": command("demo", "--source", "missing.mp4"),
    }


def of_addresses(site: str, closed: int) -> dict[str, Command]:
    """Commands with an address that does not answer properly."""
    return {
        "404 Not Found": transcode(f"{site}/404"),
        "403 Forbidden": command("probe", f"{site}/403"),
        "the host no-such-host.invalid cannot be resolved": transcode("http://no-such-host.invalid/film.mp4"),
        "Connection refused); check the address and that": command("probe", f"rtmp://127.0.0.1:{closed}/live/key"),
        "port and passphrase": command("probe", f"srt://127.0.0.1:{closed}"),
        "contains characters that a URL cannot": command("probe", f"{site}/a\u202fb"),
    }


def of_outputs(folder: Path, closed: int) -> dict[str, Command]:
    """Commands with an output that cannot be written."""
    (folder / "plain").write_text("in the way")
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    s3 = {**keys, "STREAMWAVE_S3_ENDPOINT": f"http://127.0.0.1:{closed}"}
    outputs = {
        "the output is empty": "",
        "'part 1' is neither an address": "out/Talk, part 1",
        "'b' is neither an address": "a,b",
        "not the home of a user": "~nobody-at-all/out",
        "unknown kind of store": "s33://bucket/x",
        "names no bucket": "s3://",
        "neither an address nor a folder": "s3:/bucket/x",
        "a user or a password": "s3://user:pw@bucket/x",
        "is lost when": "memory://x",
        "in the way of the folder": "plain",
        "choose another place)": "/proc/out",
        "name too long": "x" * 300,
    }
    return {
        **{word: transcode("film.mp4", "--output", place) for word, place in outputs.items()},
        "the endpoint does not answer": transcode("film.mp4", "--output", "s3://bucket/x", **s3),
        "the output is empty; name": command("run", "film.mp4", "--stream", "show", "--output", ""),
    }


def of_settings(folder: Path, closed: int, taken: int) -> dict[str, Command]:
    """Commands with an invalid setting, or on a machine that lacks something."""
    return {
        "from 0 to 51": transcode("film.mp4", STREAMWAVE_CRF="99"),
        "one of ultrafast": transcode("film.mp4", STREAMWAVE_PRESET="quick"),
        "S3_BUCKET is not set": transcode("film.mp4", USE_S3="true"),
        "OUTPUT_DIR is '~nobody-at-all/x': ~nobody-at-all is not the home": transcode(
            "film.mp4", OUTPUT_DIR="~nobody-at-all/x"
        ),
        "write the full path); allowed": transcode("film.mp4", STREAMWAVE_SPOOL_DIR="~nobody-at-all/x"),
        "set STREAMWAVE_STATE_DIR": transcode("film.mp4", STREAMWAVE_STATE_DIR="/proc/x"),
        "set STREAMWAVE_SPOOL_DIR": transcode("film.mp4", STREAMWAVE_SPOOL_DIR="/proc/x"),
        "no rendition '8k'": transcode("film.mp4", "--ladder", "8k"),
        "names no rendition": transcode("film.mp4", "--ladder", ""),
        "missing.toml cannot be read (No such file or directory)": transcode("film.mp4", "--ladder", "missing.toml"),
        "a ladder looks like": transcode("film.mp4", "--ladder", "{}"),
        "STREAMWAVE_LADDER: ": transcode("film.mp4", STREAMWAVE_LADDER="8k"),
        "not a program": transcode("film.mp4", FFMPEG_PATH="/nowhere/ffmpeg"),
        "answer like FFmpeg": transcode("film.mp4", FFMPEG_PATH="/bin/true"),
        "PREFECT_API_URL is": transcode("film.mp4", PREFECT_API_URL=f"http://127.0.0.1:{closed}/api"),
        "is in use": command("up", STREAMWAVE_MEDIA_PORT=str(taken)),
        "write it as": command("streams", "add", "a", STREAMWAVE_DATABASE_URL="nonsense"),
        "cannot be opened": command(
            "streams", "ls", STREAMWAVE_DATABASE_URL=f"postgresql://user:geheim@127.0.0.1:{closed}/db"
        ),
    }


MISUSE = {
    "missing argument": command("transcode"),
    "missing option": command("run", "film.mp4"),
    "./-NAME": command("transcode", "-i.mp4"),
    "no such command": command("broadcast"),
    "quotation marks": command("transcode", "my", "film.mp4"),
    "invalid value": command("transcode", "film.mp4", "--audio-track", "two"),
    "there is no service": command("serve", "player"),
    "is not a valid stream name": command("streams", "add", "My Show"),
    "'My Show' is not a valid": command("run", "film.mp4", "--stream", "My Show"),
    "streamwave streams ls": command("streams", "rm", "nobody"),
    "no stream 'nobody'": command("streams", "rotate-key", "nobody"),
    "a title is one line": command("streams", "add", "stage", "--title", "a\nb"),
    "streamwave broadcasts ls": command("broadcasts", "show", "nobody"),
    "no broadcast nobody/20200101": command("broadcasts", "verify", "nobody/20200101-000000-aaaa"),
    "no broadcast nobody": command("broadcasts", "rm", "nobody"),
    "nothing to catch up": command("broadcasts", "catch-up", "nobody"),
}


def test_what_goes_wrong_first(tmp_path: Path, site: str) -> None:
    cli = Cli(tmp_path, {"AWS_EC2_METADATA_DISABLED": "true"})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cases = [
            *of_files(tmp_path).items(),
            *of_addresses(site, closed).items(),
            *of_outputs(tmp_path, closed).items(),
            *of_settings(tmp_path, closed, port).items(),
            *MISUSE.items(),
        ]
        found = run_all(cli, [one for _, one in cases])
    assert len(cases) >= 40
    known = [pattern(message) for message in messages()]
    wrong = []
    for (word, one), done in zip(cases, found, strict=True):
        lines = [line for line in done.err.splitlines() if not line.startswith("warning: ")]
        right = (
            done.code in (1, 2)
            and len(lines) == 1
            and lines[0].startswith("error: ")
            and word.removesuffix("; ") in lines[0]
            and "geheim" not in lines[0]
            and any(line.fullmatch(lines[0].removeprefix("error: ")) for line in known)
        )
        if not right:
            wrong.append(f"{one.arguments} {one.extra}: {done.code} {done.err}")
    assert not wrong, "\n".join(wrong)
    assert cli.leftovers() == []
