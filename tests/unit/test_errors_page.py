"""What docs/errors.md says that the program says, it says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from streamwave.cli.wording import reworded
from tests.support.errors_page import PAGE, messages

ROOT = PAGE.parents[1]
#: Words of the library that reads the command line, and of the operating system.
FOREIGN = ("missing argument", "missing option", "no such option", "no such command", "got unexpected", "invalid value for",
           "Connection refused", "--stream")  # fmt: skip


def sentences() -> Iterator[str]:
    """Every text in the program, with ``…`` in the place of what is put into it."""
    for folder in ("streamwave", "services", "flows"):
        for path in Path(ROOT, folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value
                elif isinstance(node, ast.JoinedStr):
                    yield "".join(str(one.value) if isinstance(one, ast.Constant) else "…" for one in node.values)


def test_every_sentence_is_in_the_program() -> None:
    known = reworded("\n".join(sentences()))  # the page is about the command line
    missing = [
        (message, part)
        for message in messages()
        for part in (piece.strip("' :,-~") for piece in re.split("…|[;()]|: ", message))  # clauses may be put together
        if len(part) > 3 and part not in known and not any(word in part for word in FOREIGN)
    ]
    assert missing == []


def test_there_are_enough() -> None:
    assert len(messages()) == len(set(messages())) >= 70
