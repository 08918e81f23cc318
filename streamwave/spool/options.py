"""What a segmenter is told when it is started."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamwave.ffmpeg.limits import USUAL, SourceLimits


@dataclass(frozen=True)
class Options:
    """``segment_ms`` least length of a chunk; ``max_ahead`` chunk files that may wait (0: no limit, for live sources).

    ``audio_track`` is the number of the audio track to take, from 0. ``numbered``: ``spool`` is a number, and
    where the pictures change, the next session goes into the folder beside it that has the next one. ``renewable``: whoever
    started the segmenter starts another one, in another broadcast, when it ends with one of
    ``OTHER_KIND``. ``await_pictures``: there are pictures, even if they are late.
    """

    source: str
    spool: Path
    segment_ms: int = 2000
    audio_bps: int = 128_000
    live: bool = False
    max_ahead: int = 0
    read_timeout_s: int = 30
    audio_track: int = 0
    numbered: bool = False
    renewable: bool = False
    await_pictures: bool = False
    spool_max_bytes: int = 0  # bound of the spool of all streams, of which ``spool`` is a session; 0: none
    limits: SourceLimits = USUAL
    store_options: dict[str, Any] = field(default_factory=dict)  # of the store, where the spool is in one
