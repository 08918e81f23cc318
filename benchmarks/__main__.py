"""Run the benchmarks; exit code 1 if one misses its target."""

from __future__ import annotations

import sys

from benchmarks import vod_cpu

if __name__ == "__main__":
    sys.exit(0 if vod_cpu.main() <= vod_cpu.TARGET else 1)
