"""The names of all stored objects, relative to the root of the broadcast. No other module forms such names."""

from __future__ import annotations

import re

MANIFEST = "manifest.mpd"
#: The manifest that clients of a live broadcast keep refreshing; after the end, the recording on the live timeline.
LIVE_MANIFEST = "manifest.live.mpd"
MASTER = "master.m3u8"
FENCE = "ledger/writer.json"
THUMBNAIL = "thumbnail.jpg"
#: A broadcast's entry for the list of broadcasts, and that list at the root of the output.
ENTRY = "broadcast.json"
INDEX = "broadcasts.json"


def init_name(period: str, rendition: str) -> str:
    """Name of the init segment of a rendition in a period."""
    return f"{period}/{rendition}/init.mp4"


def segment_name(period: str, rendition: str, time: int | str) -> str:
    """Name of the media segment that starts at ``time`` (ticks), or DASH's template for ``$Time$`` (23009-1, 5.3.9.4.4)."""
    return f"{period}/{rendition}/{time}.m4s"


def playlist_name(rendition: str) -> str:
    """Name of the HLS media playlist of a rendition over all periods."""
    return f"{rendition}.m3u8"


def recording_name(rendition: str) -> str:
    """Name of the HLS media playlist of a whole recording, if the broadcast had a DVR window. Rendition names have no dots."""
    return f"{rendition}.recording.m3u8"


def ledger_name(part: int) -> str:
    """Name of one part of the ledger."""
    return f"ledger/{part:06d}.jsonl"


_OURS = re.compile(
    r"manifest(\.live)?\.mpd|master\.m3u8|[a-z0-9][a-z0-9_-]*(\.recording)?\.m3u8|thumbnail\.jpg|broadcast\.json"
    r"|ledger/(\d+\.jsonl|writer\.json)|p\d+/[a-z0-9][a-z0-9_-]*/(init\.mp4|\d+\.m4s)"
)


def is_broadcast_object(name: str) -> bool:
    """Whether ``name`` is one of the names above. Deleting a broadcast removes these objects and no others."""
    return _OURS.fullmatch(name) is not None
