"""Sources whose pictures end before their sound."""

from __future__ import annotations

PLAIN = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "0")
