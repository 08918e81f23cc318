"""One stream on several machines: ``python -m benchmarks.cluster [scaling] [dispatch] [ends] [faults]``, or all.

Workers are network namespaces of this machine, connected by virtual cables to a switch, with a CPU quota each (which
needs root) and with folders of their own. About ten minutes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from benchmarks import cluster_dispatch, cluster_faults, cluster_scaling

PARTS: dict[str, Callable[[], list[str]]] = {
    "scaling": cluster_scaling.main,
    "dispatch": cluster_dispatch.main,
    "ends": cluster_faults.ends,
    "faults": cluster_faults.main,
}
#: Maximum number of figures that miss their targets.
TARGET = 0.0


def main(*names: str) -> float:
    """Measure and print; returns how many figures miss their targets."""
    if unknown := set(names) - set(PARTS):
        sys.exit(f"unknown part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    missed = []
    for name in names or PARTS:
        print(f"{name} (load of the machine before: {os.getloadavg()[0]:.1f})", flush=True)
        missed += PARTS[name]()
    for one in missed:
        print(f"MISSED: {one}")
    return float(len(missed))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) > TARGET)
