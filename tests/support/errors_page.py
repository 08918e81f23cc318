"""docs/errors.md, as the tests read it."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def messages() -> list[str]:
    """The messages that the page documents; ``…`` stands for variable parts."""
    return re.findall(r"^\| `(.+?)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def pattern(message: str) -> re.Pattern[str]:
    """A pattern that matches the documented message as a whole line."""
    return re.compile(".*".join(map(re.escape, message.split("…"))))
