"""``streamwave serve``: one part in this process."""

from __future__ import annotations

import os
import sys

from streamwave.errors import UsageError

PARTS = {"ingest": [], "processing": [], "rtmp": [], "media": ["--live"]}


def run_part(part: str) -> None:
    """Become the process of ``part``.

    Raises:
        UsageError: there is no such part.
    """
    if part not in PARTS:
        raise UsageError(f"there is no part {part!r}; choose among {', '.join(PARTS)}")
    os.execv(sys.executable, [sys.executable, "-m", f"services.{part}", *PARTS[part]])
