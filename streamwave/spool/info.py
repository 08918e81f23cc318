"""The description of a broadcast in the spool (broadcast.json), and how to salvage a damaged one."""

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
    """Description of a broadcast. ``output`` is the URL of the broadcast at its output, or several (``storage.outputs``).

    ``spool`` is the address of the broadcast in the store if its spool is in one (``spool.remote``), else empty.
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
    """Write a broadcast's description into its folder, durably."""
    replace_file(folder / INFO, info.model_dump_json().encode(), durable=True)


def named_unix_ms(broadcast: str) -> int | None:
    """Creation time of a broadcast in Unix milliseconds, from its name; None if the name is not of that form."""
    try:
        return calendar.timegm(time.strptime(broadcast[:15], "%Y%m%d-%H%M%S")) * 1000
    except ValueError:
        return None


def is_ours(stream: str, broadcast: str) -> bool:
    """Whether these folder names are valid names of a stream and a broadcast, so that the folder is ours."""
    return is_stream_name(stream) and named_unix_ms(broadcast) is not None


def salvage_field(damaged: bytes, name: str) -> str:
    """Salvage the text of field ``name`` from a damaged description; empty if it is incomplete."""
    found = re.search(rb'"' + name.encode() + rb'"\s*:\s*("(?:[^"\\\x00-\x1f]|\\.)*")', damaged)
    try:
        return str(json.loads(found[1])) if found else ""
    except ValueError:
        return ""
