"""The options that a segmenter gets at its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import TypeAdapter

from streamwave.ffmpeg.limits import USUAL, SourceLimits
from streamwave.model import StreamLimits
from streamwave.sources import hosts as source_hosts
from streamwave.timing import whole_ms
from streamwave.util.logs import ShortLog

if TYPE_CHECKING:  # every segmenter would load all settings at its start
    from streamwave.config.settings import Settings

#: The segmenter's log, in the folder of its session.
LOG_FILE = "segmenter.log"
#: Chunks of a file, which is read faster than it is transcoded, that may wait besides those in flight.
FILE_AHEAD = 8


@dataclass(frozen=True)
class Options:
    """``segment_ms`` is the minimum length of a chunk; ``max_ahead`` the number of chunk files that may wait (0: no limit).

    ``audio_track`` is the index of the audio track, from 0; None selects the first that can be decoded. ``numbered``:
    ``spool`` is named by a number, and if the video format changes, the next session goes into the folder with the next
    number. ``renewable``: the caller starts another segmenter, for a new broadcast, if this one ends with a reason in
    ``OTHER_KIND``. ``await_pictures``: the source has video, even if it begins late.
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
    store_options: dict[str, Any] = field(default_factory=dict)  # of the store, if the spool is in one
    source_hosts: tuple[str, ...] | None = (
        None  # see ``source_hosts``; None allows every host, for a source that the user has chosen
    )

    @classmethod
    def from_settings(cls, settings: Settings, source: str, spool: Path, *, audio_kbps: int, **others: Any) -> Self:
        """The options for receiving ``source``, a resolved address, into ``spool``.

        ``audio_kbps`` comes from the ladder. Every source except a file is live. ``others`` override single fields.
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
    """Parse the options that a segmenter process gets as JSON, bound its log, and confine it to the allowed hosts."""
    options = TypeAdapter(Options).validate_json(data)
    ShortLog(options.spool / LOG_FILE)
    if options.source_hosts is not None:
        source_hosts.confine(options.source_hosts)
    return options
