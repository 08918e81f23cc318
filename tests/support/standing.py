"""Sources whose video ends before their audio."""

from __future__ import annotations

PLAIN = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "0")
