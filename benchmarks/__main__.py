"""Run the benchmarks, or those that are named; exit code 1 if one misses its target."""

from __future__ import annotations

import sys

from benchmarks import publishing, rtmp_gate, spool, vod_cpu

BENCHMARKS = {"vod_cpu": vod_cpu, "publishing": publishing, "spool": spool, "rtmp_gate": rtmp_gate}

if __name__ == "__main__":
    chosen = sys.argv[1:] or list(BENCHMARKS)
    if unknown := set(chosen) - set(BENCHMARKS):
        sys.exit(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    results = [BENCHMARKS[name].main() <= BENCHMARKS[name].TARGET for name in chosen]
    sys.exit(0 if all(results) else 1)
