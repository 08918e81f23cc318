"""The library speaks of its own parameters, the command line of its options and commands."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from streamwave.cli.wording import PHRASES, reworded

ROOT = Path(__file__).resolve().parents[3] / "streamwave"


def sentences() -> list[str]:
    """The texts of the library outside the command line: those with spaces, which programs' arguments have not."""
    files = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in ("cli", "v1")]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    texts = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in docstrings]
    return [node.value for node in texts if isinstance(node.value, str) and " " in node.value.strip()]


def test_no_message_of_the_library_names_what_only_the_command_line_has() -> None:
    options = r"(?<![\w-])--(?!(system|group)\b)[a-z]"  # adduser's
    commands = r"streamwave (transcode|probe|broadcasts (ls|show|export|verify))\b"  # those that the API has too
    assert [text for text in sentences() if re.search(f"{options}|{commands}", text)] == []


def test_the_command_line_says_it_in_its_own_words() -> None:
    text = "\n".join(sentences())
    assert [phrase for phrase in PHRASES if phrase not in text] == []
    assert reworded("out exists; replace it with overwrite=True") == "out exists; replace it with --overwrite"
