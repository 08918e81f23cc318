"""The order of the tests: what is cheap first, so that a mistake is found soon; and the time that each tier took."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

#: Tiers and their folders. ``unit`` starts no process and waits for nothing; ``component`` has FFmpeg, one process or
#: seconds of waiting; ``contract`` asks the same of every kind of store; ``services`` runs parts of an installation with
#: nginx and Prefect; ``e2e`` runs what people run.
TIERS = {
    "unit": ("unit",),
    "component": ("component",),
    "contract": ("storage",),
    "services": ("services", "flows"),
    "matrix": ("matrix", "fuzz", "security"),
    "e2e": ("e2e",),
}
#: Of their tier, these files take longest. They are handed out first, so that no worker is left alone with one at the end.
LONGEST = (
    "component/cluster/test_cluster.py",
    "component/receive/test_sources.py",
    "component/ffmpeg/test_picture.py",
    "component/verify/test_whole.py",
    "component/pipeline/test_live.py",
    "component/ffmpeg/test_transcode.py",
    "component/ffmpeg/test_hostile.py",
    "component/receive/test_segmenter.py",
    "services/test_ingest_rtmp.py",
    "flows/test_run_by_hand.py",
    "services/test_work_pool.py",
    "services/test_processing.py",
    "flows/test_spool_in_store.py",
    "services/test_rtmp_attack.py",
    "services/test_rtmp_metadata.py",
    "flows/test_windows.py",
    "services/test_rtmp.py",
    "matrix/test_matrix_live.py",
    "matrix/test_matrix_media.py",
    "matrix/test_matrix_files.py",
    "matrix/test_matrix.py",
    "e2e/test_live_players.py",
    "e2e/test_uneven_ends.py",
    "e2e/test_wheel.py",
    "e2e/test_bad_input.py",
    "e2e/test_live_failures.py",
    "e2e/test_live_end.py",
    "e2e/test_live_workers.py",
    "e2e/test_live_on_workers.py",
    "e2e/test_captions.py",
    "e2e/test_live.py",
    "e2e/test_live_bad_input.py",
    "e2e/test_other_users.py",
    "e2e/test_live_to_the_end.py",
    "e2e/test_intruders.py",
    "e2e/test_broadcasts.py",
    "e2e/test_hung_endpoint.py",
    "e2e/test_players.py",
)


def tier(path: Path) -> str:
    """The tier of a file of tests; ``path`` is relative to this folder."""
    return next(name for name, folders in TIERS.items() if path.parts[0] in folders)


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """The tests by tier, and in each the longest files first; otherwise as they were. A file's tests stay together."""

    def place(item: pytest.Item) -> tuple[int, int]:
        path = item.path.relative_to(TESTS)
        name = path.as_posix()
        return list(TIERS).index(tier(path)), LONGEST.index(name) if name in LONGEST else len(LONGEST)

    return sorted(items, key=place)


class Times:
    """What the reports of tests tell: seconds of each file, and when each tier began and ended."""

    def __init__(self) -> None:
        self._files: dict[str, float] = defaultdict(float)
        self._tests: dict[str, set[str]] = defaultdict(set)
        self._spans: dict[str, tuple[float, float]] = {}

    def add(self, report: pytest.TestReport) -> None:
        """Count one phase of a test."""
        file = report.nodeid.partition("::")[0].removeprefix("tests/")
        name = tier(Path(file))
        self._files[file] += report.duration
        self._tests[name].add(report.nodeid)
        begin, end = self._spans.get(name, (report.start, report.stop))
        self._spans[name] = min(begin, report.start), max(end, report.stop)

    def lines(self) -> list[str]:
        """A table of the tiers, then the slowest files."""
        begun = min((begin for begin, _ in self._spans.values()), default=0.0)
        ended = max((end for _, end in self._spans.values()), default=0.0)
        lines = ["tier        tests  seconds of all workers  from    to"]
        for name in (one for one in TIERS if one in self._spans):
            seconds = sum(s for file, s in self._files.items() if tier(Path(file)) == name)
            begin, end = (round(moment - begun) for moment in self._spans[name])
            lines.append(f"{name:<10} {len(self._tests[name]):>6} {seconds:>23.0f} {begin:>5} {end:>5}")
        slowest_first = sorted(self._files.items(), key=lambda one: -one[1])
        count, seconds = sum(map(len, self._tests.values())), sum(self._files.values())
        lines.append(f"{'all':<10} {count:>6} {seconds:>23.0f} {0:>5} {ended - begun:>5.0f}")
        slowest = ", ".join(f"{Path(file).name} {s:.0f} s" for file, s in slowest_first[:20])
        return [*lines, f"slowest files: {slowest}"]
