"""How one session is encoded: decided when its first chunk is published, and kept for as long as it lasts.

All chunks of a session share an init segment. A run that takes over after a crash must therefore encode as the one before
it did, whatever the settings say by then; they count from the next session on.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from streamwave.model import Frozen, Passthrough, Rendition
from streamwave.util.files import replace_file

#: File in the session's spool.
FILE = "encoding.json"


class Encoding(Frozen):
    """What decides the bytes of a session's renditions, apart from what was received."""

    renditions: tuple[Rendition, ...] = Field(min_length=1)
    segment_ms: int
    preset: str
    crf: int
    encoder_threads: int
    passthrough: Passthrough | None = None


def kept_encoding(session: Path) -> Encoding | None:
    """What an earlier run decided for the session in this spool; None if there is nothing to be read."""
    try:
        return Encoding.model_validate_json((session / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def keep_encoding(session: Path, encoding: Encoding) -> None:
    """Store durably how the session is encoded; before its first chunk is."""
    replace_file(session / FILE, encoding.model_dump_json().encode(), durable=True)
