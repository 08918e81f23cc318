"""One stream on several machines, each part by its name: ``make bench ARGS="cluster_scaling cluster_live minutes=1"``.

Workers are network namespaces of this machine, connected by virtual cables to a switch, with a CPU quota each (which
needs root) and with folders of their own. ``cluster`` is all parts.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from benchmarks import cluster_dispatch, cluster_faults, cluster_kills, cluster_live, cluster_prefect, cluster_scaling

PARTS: dict[str, Callable[..., list[str]]] = {
    "scaling": cluster_scaling.main,
    "causes": cluster_scaling.causes,
    "live": cluster_live.one,
    "two_streams": cluster_live.two,
    "dispatch": cluster_dispatch.main,
    "ends": cluster_faults.ends,
    "faults": cluster_faults.main,
    "kills": cluster_kills.main,
    "prefect_away": cluster_prefect.away,
    "cancel": cluster_prefect.ends,
}
#: Maximum number of figures that miss their targets.
TARGET = 0.0


def part(name: str, **parameters: float) -> float:
    """Measure and print one part; returns how many figures miss their targets."""
    print(f"cluster_{name} (load of the machine before: {os.getloadavg()[0]:.1f})", flush=True)
    missed = PARTS[name](**parameters)
    for one in missed:
        print(f"MISSED: {one}")
    return float(len(missed))


def main(**parameters: float) -> float:
    """All parts."""
    return sum(part(name, **parameters) for name in PARTS)
