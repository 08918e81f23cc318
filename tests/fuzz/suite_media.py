"""Damaged media files through probe and a short transcode: each gives a result or a message; no process dies or hangs."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.fuzz.media_cases import MOST_RSS_MB
from tests.fuzz.mutate import mutate
from tests.fuzz.report import Findings, Row
from tests.fuzz.seeds import AAC, H264, media
from tests.fuzz.suites import Budget, suite

_MPEG4 = ("-c:v", "mpeg4", "-g", "5")
_KINDS: dict[str, tuple[str, tuple[str, ...], bool, bool]] = {
    "mp4": ("mp4", (*H264, *AAC), True, True),
    "fmp4": ("mp4", (*H264, *AAC, "-movflags", "+cmaf+frag_keyframe+empty_moov"), True, True),
    "mkv": ("mkv", (*H264, *AAC), True, True),
    "ts": ("ts", (*H264, *AAC), True, True),
    "flv": ("flv", (*H264, *AAC), True, True),
    "webm": ("webm", ("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus", "-ar", "48000"), True, True),
    "avi": ("avi", (*_MPEG4, "-c:a", "libmp3lame"), True, True),
    "mp3": ("mp3", ("-c:a", "libmp3lame"), True, False),
    "wav": ("wav", (), True, False),
    "aac": ("aac", AAC, True, False),
    "jpg": ("jpg", ("-frames:v", "1", "-update", "1"), False, True),
    "png": ("png", ("-frames:v", "1", "-update", "1"), False, True),
}


@cache
def sample(kind: str) -> bytes:
    """An undamaged file of that kind, one second long."""
    suffix, options, sound, pictures = _KINDS[kind]
    return media(suffix, *options, seconds="1", sound=sound, pictures=pictures)


def damaged(kind: str, chance: random.Random) -> bytes:
    """A file of that kind with a few mutations; half of them near its beginning, where most headers are."""
    data = sample(kind)
    head = min(len(data), 2048) if chance.randrange(2) else len(data)
    return mutate(data[:head], chance, 3) + data[head:]


@suite("media")
def run(budget: Budget, findings: Findings) -> Iterator[Row]:
    """A row for each kind of file; ``inputs`` of the budget is the number of files of all kinds."""
    kinds = [kind for kind in _KINDS if budget.wants(kind)]
    if not kinds:
        return
    command = [sys.executable, "-m", "tests.fuzz.media_cases"]
    with (
        tempfile.TemporaryDirectory(prefix="streamwave-fuzz-") as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        for kind in kinds:
            row, outcomes = Row("media", kind), dict[str, int]()
            path = Path(folder, f"damaged.{_KINDS[kind][0]}")
            for chance in budget.shared(len(kinds)).steps():
                data = damaged(kind, chance)
                path.write_bytes(data)
                process.stdin.write(f"{path}\n")
                process.stdin.flush()
                found = json.loads(process.stdout.readline())
                row.inputs += 1
                row.max_rss_mb = max(row.max_rss_mb, found["rss_mb"])
                outcome = found["outcome"] if found["rss_mb"] <= MOST_RSS_MB else "memory"
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
                row.crashes += outcome == "crash"
                row.hangs += outcome == "hang"
                row.over_memory += outcome == "memory"
                if outcome not in ("published", "refused"):
                    findings.keep(row, outcome, data, found["said"])
                findings.progress(row)
            row.notes.append(", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())))
            findings.progress(row, last=True)
            yield row
        process.stdin.close()
