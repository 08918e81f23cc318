"""The hook before a commit: what it runs depends on what is committed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

HOOKS = Path(__file__).resolve().parents[2] / ".githooks"
ALWAYS = ["test_architecture.py", "test_settings.py"]
OF_DOCUMENTS = ["test_docs.py", "test_errors_page.py"]


@pytest.mark.parametrize(
    ("path", "runs"),
    [
        ("streamwave/model.py", ALWAYS),
        ("README.md", ALWAYS + OF_DOCUMENTS),
        ("docs/images/a.png", ALWAYS + OF_DOCUMENTS),
        ("mkdocs.yml", ALWAYS + OF_DOCUMENTS),
    ],
)
def test_documents_are_checked_where_one_changes(tmp_path: Path, path: str, runs: list[str]) -> None:
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("ruff", "python"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >> ran\n')
        (programs / name).chmod(0o755)
    (tmp_path / ".gitignore").write_text("ran\n.venv/\n")
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    said = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}

    def git(*arguments: str) -> None:
        command = ["git", "-c", f"core.hooksPath={HOOKS}", *arguments]
        subprocess.run(command, cwd=tmp_path, env={**environment, **said}, check=True, capture_output=True, timeout=60)

    git("init", "-q")
    git("add", ".gitignore")
    git("commit", "-q", "-m", "before", "--no-verify")
    (tmp_path / path).write_text("changed")
    git("add", path)
    git("commit", "-q", "-m", "change")
    ran = (tmp_path / "ran").read_text().split("\n")
    assert ran[:2] == ["ruff check .", "ruff format --check ."]
    assert [Path(word).name for word in ran[2].split() if word.endswith(".py")] == runs
