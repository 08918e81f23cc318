"""MkDocs hooks: turn links to files outside the site into plain text, and add all decisions to the navigation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / "docs"
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """List every decision, so that a new one needs no entry in mkdocs.yml."""
    explanation = next(entry["Explanation"] for entry in config.nav if "Explanation" in entry)
    decisions = next(entry for entry in explanation if "Decisions" in entry)
    decisions["Decisions"] = [f"decisions/{path.name}" for path in sorted((DOCS / "decisions").glob("*.md"))]
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace links out of docs/ by their text, because only readers of the repository can follow them."""
    folder = (DOCS / page.file.src_uri).parent

    def outside(match: re.Match[str]) -> str:
        target = (folder / match[2]).resolve()
        if target.is_relative_to(DOCS) and target.is_file():
            return match[0]
        return match[1]

    return _LINK.sub(outside, markdown)
