"""The demand for encoding of all streams, and the slots for it: what an autoscaler needs (docs/howto/workers.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamwave.config.settings import Settings

#: What the runs at one place have each for themselves if it is a machine, and see all of if it is a scheduler.
_OWN = ("busy", "queued")


def installation(rows: Sequence[dict[str, Any]], settings: Settings) -> dict[str, Any]:
    """Sum up ``encoding`` of the runs of these broadcasts, which each run updates every few seconds.

    ``load`` = ``demand`` / ``slots``; above 1 there are too few. While no stream runs, nobody asks a scheduler for its workers,
    so their numbers are null.
    """
    runs = sorted((row["run"] for row in rows if _of(row["run"])), key=lambda run: int(run.get("updated_unix_ms") or 0))
    places: dict[str, dict[str, Any]] = {}
    for run in runs:
        found = _of(run)
        before = places.get(str(found["at"]))
        if before is not None and "://" not in found["at"]:
            found = found | {name: before[name] + found[name] for name in _OWN}
        places[str(found["at"])] = found
    if not places and not settings.task_runner:
        places[""] = {"workers": 1, "slots": settings.ffmpeg_slot_count, "busy": 0, "queued": 0}
    demand = round(sum(float(_of(run)["demand"]) for run in runs), 2)
    numbers = {
        name: sum(int(place[name]) for place in places.values()) if places else None
        for name in ("workers", "slots", "busy", "queued")
    }
    # Without any slot, each that is needed is too few.
    load = round(demand / max(numbers["slots"] or 0, 1), 2)
    unusable = sorted({str(name) for place in places.values() for name in place.get("unusable") or []})
    return {"demand": demand, "load": load, **numbers, "unusable": unusable}


def _of(run: dict[str, Any]) -> dict[str, Any]:
    found = run.get("encoding")
    numbers = ("demand", "workers", "slots", "busy", "queued")
    if isinstance(found, dict) and all(isinstance(found.get(name), int | float) for name in numbers):
        return {"at": "", **found}
    return {}
