"""``streamwave serve``: run one service in this process."""

from __future__ import annotations

import os
import sys

from streamwave.errors import UsageError
from streamwave.util.private import RUN_AS_USER, python_argv

PARTS = {"ingest": [], "processing": [], "rtmp": [], "media": ["--live"]}


def run_part(part: str) -> None:
    """Replace this process with the service ``part``.

    Raises:
        UsageError: there is no such service.
    """
    if part not in PARTS:
        raise UsageError(f"there is no service {part!r}; choose one of {', '.join(PARTS)}")
    if os.geteuid() == 0:
        print(f"warning: {RUN_AS_USER}", file=sys.stderr)
    os.execv(sys.executable, python_argv(f"services.{part}", *PARTS[part]))
