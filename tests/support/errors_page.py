"""docs/errors.md, as the tests read it."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def messages() -> list[str]:
    """What the program says, by the page; ``…`` stands for what differs."""
    return re.findall(r"^\| `(.+?)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def pattern(message: str) -> re.Pattern[str]:
    """What a line matches as a whole that is that message."""
    return re.compile(".*".join(map(re.escape, message.split("…"))))
