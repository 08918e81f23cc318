"""What a run knows of the workers: which it can use, which are silent, and who works on which chunk."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: A worker without a heartbeat for this long is silent. They come twice a second, and less often if there are many workers.
SILENT_S = 3.0
#: The same as a multiple of the interval of heartbeats.
SILENT_BEATS = 4
#: How long a worker that reported a problem of its own, such as a full disk, is not used.
AVOID_S = 60.0


@dataclass
class _Worker:
    name: str
    fits: bool
    beat: float
    beat_at: float
    silent: bool = False


class Roster:
    """The workers of the scheduler at ``address``; those with the Dask resource ``wanted`` have the run's encoder. Thread-safe.

    ``update`` is given what the scheduler says. Heartbeats are not compared with a clock: a worker is silent if its last one
    stays the same for too long.
    """

    def __init__(self, address: str, wanted: str) -> None:
        self._address, self._wanted = address, wanted
        self._workers: dict[str, _Worker] = {}
        self._at: dict[str, str] = {}
        self._avoided: dict[str, float] = {}
        self._told: dict[str, str] = {}
        self._lock = threading.Lock()

    def update(self, workers: Mapping[str, Any], processing: Mapping[str, Sequence[str]], now: float) -> list[str]:
        """Take over the scheduler's state: its workers by address, and the keys at each. Returns what is new, in sentences."""
        limit_s = max(SILENT_S, SILENT_BEATS * (len(workers) / 200 + 1 if len(workers) > 10 else 0.5))
        with self._lock:
            found = {}
            for address, told in workers.items():
                beat = told["last_seen"]
                known = self._workers.get(address)
                one = _Worker(str(told["name"]), self._wanted in told["resources"], beat, now)
                if known is not None and known.beat == beat:
                    one.beat_at = known.beat_at
                one.silent = now - one.beat_at > limit_s
                found[address] = one
            self._workers = found
            self._at = {key: address for address, keys in processing.items() for key in keys}
            return self._news()

    def _news(self) -> list[str]:
        others = sorted(one.name for one in self._workers.values() if not one.fits)
        usable = [one for one in self._workers.values() if one.fits and not one.silent]
        why = "have another FFmpeg or another version of StreamWave than this run"
        states = {
            "others": f"workers that {why} are not used: {', '.join(others)}" if others else "",
            "usable": "" if usable else f"chunks wait, because {self._address} has no worker that this run can use; start "
            "one with `streamwave worker`",
        }  # fmt: skip
        return self._changed(states)

    def _changed(self, states: Mapping[str, str]) -> list[str]:
        news = [text for topic, text in states.items() if text and self._told.get(topic) != text]
        self._told |= states
        return news

    def reached(self) -> list[str]:
        """The scheduler has answered."""
        with self._lock:
            before, self._told["scheduler"] = self._told.get("scheduler"), ""
        return [f"the scheduler {self._address} answers again"] if before else []

    def unreached(self) -> list[str]:
        """The scheduler has not answered."""
        with self._lock:
            return self._changed(
                {"scheduler": f"chunks wait, because the scheduler {self._address} does not answer; check that "
                 "`streamwave scheduler` runs there"}
            )  # fmt: skip

    def is_lost(self, key: str, allowed: Sequence[str] | None) -> bool:
        """Whether a usable worker should take over the task ``key``: the worker that has it is silent, or the ``allowed`` ones
        are all gone.
        """
        with self._lock:
            one = self._workers.get(self._at.get(key, ""))
            gone = allowed is not None and not any(address in self._workers for address in allowed)
            return ((one is not None and one.silent) or gone) and bool(self._usable())

    def usable(self) -> list[str] | None:
        """Addresses of the workers that may be used; None: all that fit, including those that will join."""
        with self._lock:
            fit = [address for address, one in self._workers.items() if one.fits]
            chosen = self._usable()
            return chosen if chosen and len(chosen) < len(fit) else None

    def _usable(self) -> list[str]:
        now = time.monotonic()
        self._avoided = {name: until for name, until in self._avoided.items() if until > now}
        return [
            address
            for address, one in self._workers.items()
            if one.fits and not one.silent and one.name not in self._avoided
        ]

    def avoid(self, name: str) -> bool:
        """Do not use the worker ``name`` for a while; False if there is no other."""
        with self._lock:
            self._avoided[name] = time.monotonic() + AVOID_S
            return bool(self._usable())
