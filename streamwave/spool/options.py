"""What a segmenter is told when it is started."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter

from streamwave.config.limits import StreamLimits
from streamwave.config.settings import Settings
from streamwave.ffmpeg.limits import USUAL, SourceLimits
from streamwave.sources import hosts as source_hosts
from streamwave.timing import whole_ms
from streamwave.util.logs import ShortLog

#: In the folder of the session: what the segmenter has to say.
LOG_FILE = "segmenter.log"
#: A file can be read faster than it can be transcoded: chunks that may wait besides those that are worked on.
FILE_AHEAD = 8


@dataclass(frozen=True)
class Options:
    """``segment_ms`` least length of a chunk; ``max_ahead`` chunk files that may wait (0: no limit, for live sources).

    ``audio_track`` is the number of the audio track to take, from 0; None: the first that can be decoded. ``numbered``:
    ``spool`` is a number, and where the pictures change, the next session goes into the folder beside it that has the next
    one. ``renewable``: whoever started the segmenter starts another one, in another broadcast, when it ends with one of
    ``OTHER_KIND``. ``await_pictures``: there are pictures, even if they are late.
    """

    source: str
    spool: Path
    segment_ms: int = 2000
    audio_bps: int = 128_000
    live: bool = False
    max_ahead: int = 0
    read_timeout_s: int = 30
    audio_track: int | None = None
    numbered: bool = False
    renewable: bool = False
    await_pictures: bool = False
    stream_limits: StreamLimits = StreamLimits()
    limits: SourceLimits = USUAL
    store_options: dict[str, Any] = field(default_factory=dict)  # of the store, where the spool is in one
    source_hosts: tuple[str, ...] | None = None  # see ``source_hosts``; None: every host, for a person's own source

    @classmethod
    def from_settings(cls, settings: Settings, source: str, spool: Path, *, audio_kbps: int, **others: Any) -> Self:
        """The options by which ``source``, an address that was resolved, is received into ``spool``.

        ``audio_kbps`` is the ladder's. All but files are live. ``others`` are fields that say something else.
        """
        is_file = source.startswith("file:")
        fields: dict[str, Any] = {
            "segment_ms": whole_ms(settings.segment_seconds),
            "audio_bps": audio_kbps * 1000,
            "live": not is_file,
            "max_ahead": settings.max_chunks_in_flight + FILE_AHEAD if is_file else 0,
            "audio_track": settings.audio_index(),
            "stream_limits": settings.stream_limits,
            "limits": settings.source_limits,
            "store_options": settings.spool_options,
        }
        return cls(source=source, spool=spool, **fields | others)


def take_options(data: bytes) -> Options:
    """The options that a segmenter process gets as JSON; from here on its log stays short, and what it may reach is bounded."""
    options = TypeAdapter(Options).validate_json(data)
    ShortLog(options.spool / LOG_FILE)
    if options.source_hosts is not None:
        source_hosts.confine(options.source_hosts)
    return options
