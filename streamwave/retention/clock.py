"""Whether the clock can be believed enough to delete recordings by their age, which nothing brings back.

A clock that jumps ahead (a dead battery, a wrong time server, a machine that was suspended) makes everything old at once.
Whoever cleans by itself notes the time of each round. Only when these have followed each other for a day without a jump do
recordings go. A jump that is shorter than half of their days counts as none, so that a machine that is on once a week
cleans as well: at worst a recording goes that much too early.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path

from streamwave.untrusted import parse_json
from streamwave.util.files import replace_file

log = logging.getLogger("streamwave.janitor")

#: In the state folder: when the clock was last seen, and since when it has not jumped, in Unix milliseconds.
NOTE = "clock.json"
DAY_MS = 86_400_000


def days_to_keep(state: Path, days: int, now_unix_ms: int) -> int:
    """``days`` after which recordings may be deleted in this round; 0, which means none, while the clock is not steady.

    Notes in the folder ``state`` that the clock was seen. Without a note that can be read the clock is new.
    """
    if not days:
        return 0
    seen, since = now_unix_ms, now_unix_ms
    with suppress(OSError, ValueError, KeyError, TypeError, OverflowError):
        note = parse_json((state / NOTE).read_bytes())
        seen, since = int(note["seen_unix_ms"]), int(note["steady_unix_ms"])
    if not 0 <= now_unix_ms - seen <= max(DAY_MS, days * DAY_MS // 2):
        log.warning("the clock was not seen for long, or has jumped: no recording is deleted for its age for a day")
        since = now_unix_ms
    state.mkdir(parents=True, exist_ok=True)
    replace_file(state / NOTE, json.dumps({"seen_unix_ms": now_unix_ms, "steady_unix_ms": since}).encode())
    return days if now_unix_ms - since >= DAY_MS else 0
