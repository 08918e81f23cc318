"""Run all benchmarks, or those named as arguments; exit with 1 if one misses its target."""

from __future__ import annotations

import sys

from benchmarks import cluster, publishing, rtmp_gate, spool, vod_cpu

BENCHMARKS = {
    "vod_cpu": vod_cpu, "publishing": publishing, "spool": spool, "rtmp_gate": rtmp_gate, "cluster": cluster,
}  # fmt: skip

if __name__ == "__main__":
    chosen = sys.argv[1:] or list(BENCHMARKS)
    if unknown := set(chosen) - set(BENCHMARKS):
        sys.exit(f"unknown benchmark {', '.join(sorted(unknown))}; choose from {', '.join(BENCHMARKS)}")
    results = [BENCHMARKS[name].main() <= BENCHMARKS[name].TARGET for name in chosen]
    sys.exit(0 if all(results) else 1)
