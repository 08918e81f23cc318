"""What a broadcast is, as its description in the spool says; and what can still be read of one that is damaged."""

from __future__ import annotations

import calendar
import json
import re
import time
from pathlib import Path

from pydantic import Field

from streamwave.model import Frozen
from streamwave.sources.address import is_stream_name
from streamwave.util.files import replace_file

INFO = "broadcast.json"


class BroadcastInfo(Frozen):
    """What a broadcast is. ``output`` is the URL of its own root at the store, or several (``storage.outputs``).

    ``spool`` is the address of its own root in a store where its spool is in one (``spool.remote``), else empty.
    """

    stream: str
    broadcast: str
    created_unix_ms: int
    output: str
    title: str = ""
    reconnect_window_ms: int = 60_000
    info: dict[str, str] = Field(default_factory=dict)
    spool: str = ""


def write_info(folder: Path, info: BroadcastInfo) -> None:
    """Put a broadcast's description into its folder, durably."""
    replace_file(folder / INFO, info.model_dump_json().encode(), durable=True)


def named_unix_ms(broadcast: str) -> int | None:
    """When a broadcast was created, by its name."""
    try:
        return calendar.timegm(time.strptime(broadcast[:15], "%Y%m%d-%H%M%S")) * 1000
    except ValueError:
        return None


def is_ours(stream: str, broadcast: str) -> bool:
    """Whether folders of these names are what a spool calls those of a stream and its broadcast, and nobody else's."""
    return is_stream_name(stream) and named_unix_ms(broadcast) is not None


def still_said(damaged: bytes, name: str) -> str:
    """The text that a damaged description still gives for ``name``; empty if it is not there whole."""
    found = re.search(rb'"' + name.encode() + rb'"\s*:\s*("(?:[^"\\\x00-\x1f]|\\.)*")', damaged)
    try:
        return str(json.loads(found[1])) if found else ""
    except ValueError:
        return ""
