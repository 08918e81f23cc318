"""Hooks of MkDocs: links from pages to files outside docs/ lead to the repository, and all decisions are in the navigation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_LINK = re.compile(r"(\]\()(?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """List every decision, so that a new one needs no entry of its own in mkdocs.yml."""
    explanation = next(entry["Explanation"] for entry in config.nav if "Explanation" in entry)
    decisions = next(entry for entry in explanation if "Decisions" in entry)
    decisions["Decisions"] = [f"decisions/{path.name}" for path in sorted((DOCS / "decisions").glob("*.md"))]
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Keep the text of links to files that the site does not hold, with their path in the repository."""
    folder = (DOCS / page.file.src_uri).parent

    def outside(match: re.Match[str]) -> str:
        target = (folder / match[2]).resolve()
        if target.is_relative_to(DOCS) and target.is_file():
            return match[0]
        return f'](# "{target.relative_to(ROOT)} in the repository")'

    return _LINK.sub(outside, markdown)
