"""Durations, sizes and times in human-readable form."""

from __future__ import annotations

import time


def length_text(ms: int) -> str:
    """Milliseconds as 1:02:03, or 2:03.4 below an hour."""
    tenths = ms // 100
    minutes, rest = divmod(tenths, 600)
    if minutes >= 60:
        return f"{minutes // 60}:{minutes % 60:02d}:{rest // 10:02d}"
    return f"{minutes}:{rest // 10:02d}.{rest % 10}"


def size_text(size: int) -> str:
    """Bytes as 512 B, 1.5 MB, 12 GB (decimal)."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            tenths = size * 10 // factor
            return f"{tenths // 10} {unit}" if tenths >= 100 else f"{tenths // 10}.{tenths % 10} {unit}"
    return f"{size} B"


def moment_text(unix_ms: int) -> str:
    """Milliseconds since 1970 as date and time in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(unix_ms // 1000))
