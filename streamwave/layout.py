"""The only place where the names of stored objects are formed. All are relative to the root of the broadcast."""

from __future__ import annotations

import re

MANIFEST = "manifest.mpd"
#: Where players ask for news that have begun to watch a live broadcast; in the end, the recording with the times of live.
LIVE_MANIFEST = "manifest.live.mpd"
MASTER = "master.m3u8"
FENCE = "ledger/writer.json"
THUMBNAIL = "thumbnail.jpg"
#: What a broadcast says of itself for the list of broadcasts, and that list at the root of all outputs.
ENTRY = "broadcast.json"
INDEX = "broadcasts.json"


def init_name(period: str, rendition: str) -> str:
    """Init segment of a rendition in a period."""
    return f"{period}/{rendition}/init.mp4"


def segment_name(period: str, rendition: str, time: int | str) -> str:
    """Media segment that starts at ``time`` (ticks), or DASH's placeholder ``$Time$`` (ISO/IEC 23009-1, 5.3.9.4.4)."""
    return f"{period}/{rendition}/{time}.m4s"


def playlist_name(rendition: str) -> str:
    """HLS media playlist of a rendition over all periods."""
    return f"{rendition}.m3u8"


def recording_name(rendition: str) -> str:
    """HLS media playlist of the whole of a broadcast that was watched through a DVR window. No rendition has a dot."""
    return f"{rendition}.recording.m3u8"


def ledger_name(part: int) -> str:
    """One part of the ledger."""
    return f"ledger/{part:06d}.jsonl"


_OURS = re.compile(
    r"manifest(\.live)?\.mpd|master\.m3u8|[a-z0-9][a-z0-9_-]*(\.recording)?\.m3u8|thumbnail\.jpg|broadcast\.json"
    r"|ledger/(\d+\.jsonl|writer\.json)|p\d+/[a-z0-9][a-z0-9_-]*/(init\.mp4|\d+\.m4s)"
)


def is_broadcast_object(name: str) -> bool:
    """Whether ``name`` is one of those above: what may be removed together with a broadcast, and nothing else."""
    return _OURS.fullmatch(name) is not None
