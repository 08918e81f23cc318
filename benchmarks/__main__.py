"""Run all benchmarks, or those named as arguments; exit with 1 if one misses its target.

``name=number`` after a benchmark's name sets a parameter of it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType

from benchmarks import cluster, publishing, rtmp_gate, spool, vod_cpu

#: What measures, prints and returns a figure, and its maximum.
Benchmark = tuple[Callable[..., float], float]
BENCHMARKS: dict[str, Benchmark] = {
    "vod_cpu": (vod_cpu.main, vod_cpu.TARGET), "publishing": (publishing.main, publishing.TARGET),
    "spool": (spool.main, spool.TARGET), "rtmp_gate": (rtmp_gate.main, rtmp_gate.TARGET),
    "cluster": (cluster.main, cluster.TARGET),
}  # fmt: skip
PARTS: dict[str, Benchmark] = {
    f"cluster_{name}": (partial(cluster.part, name), cluster.TARGET) for name in cluster.PARTS
}


def _interrupted(number: int, frame: FrameType | None) -> None:
    """As for Ctrl-C: end all that was started. What ends it is not to be interrupted again."""
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


def _chosen(arguments: list[str]) -> list[tuple[str, dict[str, float]]]:
    chosen: list[tuple[str, dict[str, float]]] = []
    for word in arguments:
        name, is_parameter, value = word.partition("=")
        if is_parameter and chosen:
            chosen[-1][1][name] = float(value) if "." in value else int(value)
        else:
            chosen.append((word, {}))
    return chosen or [(name, {}) for name in BENCHMARKS]


if __name__ == "__main__":
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, _interrupted)
    known = BENCHMARKS | PARTS
    chosen = _chosen(sys.argv[1:])
    if unknown := {name for name, _ in chosen} - known.keys():
        sys.exit(f"unknown benchmark {', '.join(sorted(unknown))}; choose from {', '.join(known)}")
    results = [known[name][0](**parameters) <= known[name][1] for name, parameters in chosen]
    sys.exit(0 if all(results) else 1)
