"""Whether the clock is trusted enough to delete recordings by their age, which cannot be undone.

A clock that jumps ahead (a dead battery, a wrong time server, a suspended machine) would make every recording expire at once.
The janitor therefore notes the time of each of its rounds, and deletes recordings by age only after a day of rounds without
a jump. Jumps of up to half of the retention time are tolerated, so that a machine that runs once a week deletes recordings
too; at worst a recording is deleted that much too early.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path

from streamwave.untrusted import parse_json
from streamwave.util.files import replace_file

log = logging.getLogger("streamwave.janitor")

#: In the state folder: the time of the last round, and the time since which the clock has not jumped, in Unix milliseconds.
NOTE = "clock.json"
DAY_MS = 86_400_000


def days_to_keep(state: Path, days: int, now_unix_ms: int) -> int:
    """The retention time for this round: ``days``, or 0 (delete no recording) while the clock is not trusted.

    Notes ``now_unix_ms`` in the folder ``state``. Without a readable earlier note the clock is not trusted.
    """
    if not days:
        return 0
    seen, since = now_unix_ms, now_unix_ms
    with suppress(OSError, ValueError, KeyError, TypeError, OverflowError):
        note = parse_json((state / NOTE).read_bytes())
        seen, since = int(note["seen_unix_ms"]), int(note["steady_unix_ms"])
    if not 0 <= now_unix_ms - seen <= max(DAY_MS, days * DAY_MS // 2):
        log.warning("the last round was long ago, or the clock has jumped: no recording is deleted by age for a day")
        since = now_unix_ms
    state.mkdir(parents=True, exist_ok=True)
    replace_file(state / NOTE, json.dumps({"seen_unix_ms": now_unix_ms, "steady_unix_ms": since}).encode())
    return days if now_unix_ms - since >= DAY_MS else 0
