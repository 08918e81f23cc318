"""The encoding parameters of a session: fixed when its first chunk is published, and kept until it ends.

All chunks of a session share an init segment. A run that takes over after a crash must therefore encode like the one before
it, even if the settings have changed; new settings apply from the next session.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from streamwave.model import Frozen, Passthrough, Rendition
from streamwave.util.files import replace_file

#: File in the session's spool.
FILE = "encoding.json"


class Encoding(Frozen):
    """Everything that determines the bytes of a session's renditions, except the received media."""

    renditions: tuple[Rendition, ...] = Field(min_length=1)
    segment_ms: int
    preset: str
    crf: int
    encoder_threads: int
    passthrough: Passthrough | None = None


def kept_encoding(session: Path) -> Encoding | None:
    """The parameters that an earlier run stored in the session's folder; None if there are none."""
    try:
        return Encoding.model_validate_json((session / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def keep_encoding(session: Path, encoding: Encoding) -> None:
    """Store the session's parameters durably. Must be called before its first chunk is published."""
    replace_file(session / FILE, encoding.model_dump_json().encode(), durable=True)
