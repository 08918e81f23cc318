"""Every malformed argument of every command ends it with exit code 2 and one line, before anything is done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import streamwave
from streamwave.cli.app import app
from streamwave.errors import UsageError
from streamwave.spool.broadcast import open_session
from tests.support.cli import LADDER, Cli
from tests.support.commands import Command, run_all
from tests.support.media import make_clip

#: Outputs that no command can use, by a part of what is said about them.
OUTPUTS = {
    "": "the output is empty",
    "  ": "the output is empty",
    "s33://bucket/x": "unknown kind of store",
    "s3://": "names no bucket",
    "s3:/bucket/x": "neither an address nor a folder",
    "https://": "names no place",
    "s3://user:pw@bucket/x": "a user or a password",
    "s3://bucket//x": "has '//' after the bucket",
    "s3://bucket/../x": "contains '..'",
    "~nobody-at-all/x": "not the home of a user",
    "out,b": "is neither an address nor begins with",
    "/a,/a/b": "is inside /a",
    "[1": "cannot be parsed",
    "[]": "the list of outputs is empty",
    "[3]": "allowed: an address or an object",
    '[{"url": 3}]': "should be a valid string",
    '["x", {"uri": "y"}]': "output 2 of the list has 'uri'",
    '["x", "y\\u0000"]': "a NUL character",
    '[{"url": "s3://b/x", "endpoint": "ftp://x"}]': "'endpoint' must be",
}
#: The addresses of broadcasts that are malformed in themselves.
ADDRESSES = {
    "": "the name of the broadcast is empty",
    " ": "the name of the broadcast is empty",
    **{place: OUTPUTS[place] for place in OUTPUTS if place.partition("/")[0] in ("s33:", "s3:", "https:", "~nobody-at-all")
       and "://" in place or place.startswith("~")},
    "/a,/a/b": "does not contain a broadcast",
    "nobody/2020": "there is no broadcast",
}  # fmt: skip
#: One of each kind, for the commands after the first that take such an argument.
SOME_OUTPUTS = {place: OUTPUTS[place] for place in ("", "s33://bucket/x", "[1")}
SOME_ADDRESSES = {place: ADDRESSES[place] for place in ("", "s3://", "nobody/2020")}
SOURCES = {"": "the source is empty", "missing.mp4": "there is no file", "ftp://host/x.mp4": "use a file or"}
LADDERS = {"8k": "has no rendition", "": "names no rendition", "missing.toml": "cannot be read", "{}": "looks like"}
NAMES = {"My Show": "'My Show'", "": "''"}
NUMBERS = {"0": "invalid value", "two": "invalid value", "": "invalid value"}
TRACKS = {**NUMBERS, "3": "there is no number 3"}

SCHEDULERS = {**dict.fromkeys(("", "studio:8786", "dask://", "http://studio"), "is not the address of a Dask scheduler"),
              "tls://studio": "has no cluster.pem", "tcp://studio": "an unencrypted connection"}  # fmt: skip

#: For each command its other arguments, and for each of its parameters the malformed values. Flags take no value.
CASES: dict[str, tuple[list[str], dict[str, dict[str, str]]]] = {
    "transcode": (["film.mp4"], {"source": SOURCES, "output": {**SOME_OUTPUTS, "memory://x": "is lost"}, "ladder": LADDERS,
                                 "audio_track": TRACKS, "workers": SCHEDULERS}),
    "probe": (["film.mp4"], {"source": SOURCES, "ladder": LADDERS, "audio_track": TRACKS}),
    "demo": ([], {"source": {"missing.mp4": "check the path", "": "the source is empty"}, "duration": NUMBERS}),
    "run": (["film.mp4", "--stream", "show"], {"source": SOURCES, "output": {**SOME_OUTPUTS, "memory://x": "is lost"},
                                               "stream": NAMES}),
    "scheduler": ([], {"address": SCHEDULERS}),
    "up": ([], {"scheduler": SCHEDULERS}),
    "worker": ([], {"address": SCHEDULERS, "port": {"x": "invalid value", "65536": "invalid value", "": "invalid value"}}),
    "serve": ([], {"part": {"player": "there is no service", "": "there is no service"}}),
    "streams add": (["stage"], {"name": NAMES, "title": {"a\nb": "a title is one line"}}),
    **{f"streams {name}": ([], {"name": {"nobody": "no stream 'nobody'"}})
       for name in ("rotate-key", "rm", "enable", "disable")},
    "broadcasts ls": ([], {"output": OUTPUTS}),
    "broadcasts clean": ([], {"output": SOME_OUTPUTS}),
    "broadcasts show": (["x"], {"name": ADDRESSES, "output": SOME_OUTPUTS}),
    "broadcasts verify": (["x"], {"name": SOME_ADDRESSES, "output": SOME_OUTPUTS}),
    "broadcasts catch-up": (["x"], {"name": {**SOME_ADDRESSES, "s3://": "nothing to catch up"}, "output": SOME_OUTPUTS}),
    "broadcasts export": (["./talk"], {
        "name": SOME_ADDRESSES, "output": SOME_OUTPUTS, "rendition": {"8k": "no rendition '8k'", "": "no rendition ''"},
        "to": {"": "a folder", ".": "a folder", "s3://b/x.mp4": "an address", "nowhere/x.mp4": "no such folder",
               "/dev/null": "not a regular file", "film.mp4": "exists"},
    }),
    "broadcasts rm": (["--yes", "x"], {"names": SOME_ADDRESSES, "output": SOME_OUTPUTS}),
}  # fmt: skip
#: These take no arguments.
BARE = {"cluster keys", "doctor", "streams ls", "prefect login", "prefect env", "prefect deploy"}


def commands() -> Iterator[tuple[str, Any]]:
    root: Any = get_command(app)
    for name, one in root.commands.items():
        inner = getattr(one, "commands", None)
        yield from ((f"{name} {sub}", sub_one) for sub, sub_one in inner.items()) if inner else [(name, one)]


def valued(command: Any) -> dict[str, Any]:
    """The parameters of a command that take a value."""
    return {one.name: one for one in command.params if not getattr(one, "is_flag", False)}


def cases() -> Iterator[tuple[Command, str]]:
    """Commands with one malformed argument each, and a part of the message."""
    for name, command in commands():
        given, faults = CASES.get(name, ([], {}))
        for parameter, values in faults.items():
            one = valued(command)[parameter]
            for value, word in values.items():
                if one.param_type_name == "option":
                    yield Command([*name.split(), *given, one.opts[0], value]), word
                    continue
                rest = [argument for argument in given if argument not in ("film.mp4", "x", "./talk", "stage")]
                yield Command([*name.split(), *rest, "--", value]), word


def test_every_parameter_is_here() -> None:
    found = {name: set(valued(command)) for name, command in commands()}
    assert {name: set(faults) for name, (_, faults) in CASES.items()} | {name: set() for name in BARE} == found


def test_a_malformed_output_does_not_make_rm_discard_what_only_the_spool_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMWAVE_STATE_DIR", str(tmp_path))
    spool, _ = open_session(tmp_path / "spool", "stage", output="/out", window_ms=0)
    done = CliRunner().invoke(app, ["broadcasts", "rm", spool.broadcast, "--yes", "--output", "s33://bucket"])
    assert isinstance(done.exception, UsageError) and not spool.finished


def test_malformed_arguments_are_usage_errors(tmp_path: Path) -> None:
    cli = Cli(tmp_path, {"AWS_EC2_METADATA_DISABLED": "true", "OUTPUT_DIR": f"{tmp_path}/a,{tmp_path}/b"})
    film = make_clip(tmp_path / "film.mp4", frames=25).path
    settings = streamwave.Settings.load(state_dir=tmp_path / "state", preset="ultrafast")
    streamwave.transcode(film, tmp_path / "talk", ladder=str(LADDER).replace("'", '"'), settings=settings)
    malformed = list(cases())
    wrong = []
    for (one, word), done in zip(malformed, run_all(cli, [one for one, _ in malformed], 30), strict=True):
        line = done.err.splitlines()
        if not (done.code == 2 and len(line) == 1 and line[0].startswith("error: ") and word in line[0]):
            wrong.append(f"{one.arguments}: {done.code} {done.err.strip()}, not {word!r}")
    assert not wrong, "\n".join(wrong)
    assert cli.leftovers() == []
