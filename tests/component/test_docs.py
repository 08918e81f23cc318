"""What documents state can be followed: links, commands, options, settings, targets, and code in blocks; the site builds.

Commands are not run. They are looked up in the command line's own tree, in this process.
"""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from services.ingest.app import create_app
from streamwave.cli.app import app
from streamwave.config.fields import variable_name
from streamwave.config.settings import Settings
from streamwave.v1 import streamwave_pb2 as pb

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
VARIABLES = {variable_name(name, field) for name, field in Settings.model_fields.items()}
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
#: Words that end one command of a shell line and begin the next.
SEPARATORS = {"&&", "||", "|", ";", "&", "do", "then"}

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and content of each code block, without the indentation that lists give it."""
    for indent, language, content in FENCE.findall(text):
        yield language, "".join(line.removeprefix(indent) for line in content.splitlines(keepends=True))


def prose(text: str) -> str:
    """The text without its code blocks."""
    return FENCE.sub("", text)


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and MkDocs agree on it for the headings that are linked to."""
    plain = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", plain).strip())


def broken_links(path: Path, text: str) -> list[str]:
    """Relative links of the document that lead to no file, or to no heading of it."""
    found = []
    for target in re.findall(r"(?:\]\(|href=\")(?!https?:|mailto:)([^)\s\"]+)", prose(text)):
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        if (
            not file.exists()
            or anchor
            and anchor not in {slug(line) for line in re.findall(r"^#+ (.+)$", prose(file.read_text()), re.M)}
        ):
            found.append(target)
    return found


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command in shell blocks, and of inline code that begins with ``streamwave`` or ``make``."""
    lines = []
    for language, content in blocks(text):
        if language in ("sh", "bash", ""):
            lines += content.replace("\\\n", " ").splitlines()
    lines += re.findall(r"`((?:streamwave|make) [^`]+)`", prose(text))
    for line in lines:
        for inner in re.findall(r"\$\(([^()]+)\)", line):
            yield shlex.split(inner)
        line = re.sub(r"\$\([^()]*\)", "x", line)
        words: list[str] = []
        try:
            parts = shlex.split(re.sub(r"(&&|\|\||[|;])", r" \1 ", line), comments=True)
        except ValueError:
            continue  # a picture made of characters
        for word in [*parts, ";"]:
            if word not in SEPARATORS:
                words.append(word)
            elif words:
                yield words
                words = []


def fault(words: list[str]) -> str | None:
    """What ``words`` name that the command line or the Makefile does not have, if anything."""
    while words and re.fullmatch(r"[A-Z][A-Z0-9_]*=.*", words[0]):
        words = words[1:]
    words = words[1:] if words[:1] == ["sudo"] else words
    if words[:1] == ["make"]:
        named = [word for word in words[1:] if re.fullmatch(r"[a-z-]+", word)]
        return next((f"make {word}" for word in named if word not in targets()), None)
    if not words or words[0].rpartition("/")[2] != "streamwave" or len(words) == 1:
        return None
    command: Any = typer.main.get_command(app)
    for word in words[1:]:
        if word in ("…", "...") or word.startswith("#"):
            break
        if word.startswith("-"):
            known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
            if word.partition("=")[0] not in known:
                return f"{command.name} {word}"
        elif hasattr(command, "commands") and word != "COMMAND":
            if word not in command.commands:
                return f"{command.name} {word}"
            command = command.commands[word]
    return None


@cache
def targets() -> frozenset[str]:
    """The targets of the Makefile."""
    return frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


@each_document
def test_links_and_anchors_lead_somewhere(path: Path) -> None:
    assert broken_links(path, path.read_text()) == []


@each_document
def test_commands_options_and_targets_exist(path: Path) -> None:
    assert [found for words in commands(path.read_text()) if (found := fault(words))] == []


@each_document
def test_settings_exist(path: Path) -> None:
    text = path.read_text()
    named = set(re.findall(r"\bSTREAMWAVE_[A-Z0-9_]*[A-Z0-9]\b(?!_)", text))
    for language, content in blocks(text):
        if language == "ini" and not content.startswith("["):
            named |= set(re.findall(r"^([A-Z0-9_]+)=", content, re.M))
    assert named - VARIABLES == set()


@each_document
def test_code_in_blocks_parses(path: Path) -> None:
    for language, content in blocks(path.read_text()):
        match language:
            case "python":
                ast.parse(content)
            case "json":
                json.loads(content)
            case "yaml":
                yaml.safe_load(content)
            case "toml":
                tomllib.loads(content)
            case "ini":
                parser = configparser.ConfigParser(interpolation=None, strict=False)
                parser.read_string(content if content.startswith("[") else f"[settings]\n{content}")


def test_the_pages_on_the_apis_name_all_that_there_is(tmp_path: Path) -> None:
    http = (ROOT / "docs" / "reference" / "http.md").read_text()
    document = create_app(Settings(state_dir=tmp_path)).openapi()
    named = [(f"{method.upper()} {path}", path) for path, methods in document["paths"].items() for method in methods]
    assert [what for what, path in named if f"`{what}`" not in http and f"`{path}`" not in http] == []
    offered = {what for what, _path in named}
    stated = re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`]*)`", http)
    assert [what for what in stated if what not in offered] == []
    rpc = (ROOT / "docs" / "reference" / "grpc.md").read_text()
    methods = pb.DESCRIPTOR.services_by_name["StreamProcessing"].methods_by_name
    states = [name for name in pb.StreamState.DESCRIPTOR.values_by_name if not name.endswith("UNSPECIFIED")]
    assert [name for name in (*methods, *states) if f"`{name}`" not in rpc] == []


def test_the_page_on_the_command_line_names_every_command() -> None:
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text()
    top: Any = typer.main.get_command(app)
    names = [name for command in top.commands.values() for name in getattr(command, "commands", ())]
    assert [name for name in top.commands if f"`streamwave {name}" not in page] == []
    assert [name for name in names if not re.search(rf"`(streamwave \w+ )?{name}`", page)] == []


def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "true"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 40
    loading = re.compile(
        r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"(?:https?:)?//|<link\b[^>]*\bhref=\"(?:https?:)?//"
    )
    assert [page.name for page in pages if loading.search(page.read_text())] == []
    styles = (tmp_path / "site").rglob("*.css")
    assert [style.name for style in styles if re.search(r"url\(\"?(?:https?:)?//", style.read_text())] == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("streamwave transcode film.mp4 --overwrite", None),
        ("streamwave transcode film.mp4 --no-such-option", "transcode --no-such-option"),
        ("streamwave broadcasts verify stage --no-decode", None),
        ("streamwave broadcasts repair stage", "broadcasts repair"),
        ("FFMPEG_PATH=x streamwave trancode a", "streamwave trancode"),
        ("make test ARGS=x", None),
        ("make no-such-target", "make no-such-target"),
    ],
)
def test_the_rule_about_commands_bites(line: str, expected: str | None) -> None:
    found = [fault(words) for words in commands(f"```sh\n{line}  # why\n```\n")]
    assert found == [expected]


def test_the_rule_about_links_bites(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One heading\n[a](#one-heading) [b](#another) [c](page.md#one-heading) [d](gone.md)\n")
    assert broken_links(page, page.read_text()) == ["#another", "gone.md"]
