"""What a run knows of the workers: which it can use, which are silent, and who works on which chunk."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamwave.ffmpeg.meter import Slots

#: A worker without a heartbeat for this long is silent. They come twice a second, and less often if there are many workers.
SILENT_S = 3.0
#: The same as a multiple of the interval of heartbeats.
SILENT_BEATS = 4
#: Number of chunks for which it is remembered which workers have failed at them.
BLAMED = 100
#: Number of chunks for which it is remembered how often they were submitted: more than a run has in flight.
SUBMITTED = 2000


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
        self._allowed: dict[str, list[str]] = {}
        self._blamed: dict[int, set[str]] = {}
        self._submitted: dict[int, int] = {}
        self._told: dict[str, str] = {}
        self._lock = threading.Lock()
        self._slots = Slots(address)

    @property
    def slots(self) -> Slots:
        """The slots of the workers that the run can use, and what they do for all runs."""
        return self._slots

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
            self._slots = self._count(workers, processing)
            return self._news()

    def _count(self, workers: Mapping[str, Any], processing: Mapping[str, Sequence[str]]) -> Slots:
        """What Dask calls processing has been given to a worker, which does as much of it at once as it has slots."""
        usable = {address: int(workers[address]["resources"][self._wanted]) for address in self._usable()}
        given = {address: len(processing.get(address, ())) for address in usable}
        busy = {address: min(given[address], slots) for address, slots in usable.items()}
        return Slots(
            self._address,
            workers=len(usable),
            slots=sum(usable.values()),
            busy=sum(busy.values()),
            queued=sum(given.values()) - sum(busy.values()),
            idle_workers=sum(busy[address] < slots for address, slots in usable.items()),
            unusable=tuple(sorted(one.name for one in self._workers.values() if not one.fits)),
        )

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

    def usable(self, chunk: int, key: str) -> list[str] | None:
        """Addresses of the workers that may have the task ``key`` for a chunk; None: all that fit, also later ones."""
        with self._lock:
            chosen, blamed = self._usable(), self._blamed.get(chunk, set())
            others = [address for address in chosen if self._workers[address].name not in blamed]
            if others and blamed:
                self._allowed[key] = others
            elif 0 < len(chosen) < sum(one.fits for one in self._workers.values()):
                self._allowed[key] = chosen
            return self._allowed.get(key)

    def _usable(self) -> list[str]:
        return [address for address, one in self._workers.items() if one.fits and not one.silent]

    def is_lost(self, key: str) -> bool:
        """Whether a usable worker should take over the task ``key``: its worker is silent, or all that may have it are gone."""
        with self._lock:
            one, allowed = self._workers.get(self._at.get(key, "")), self._allowed.get(key)
            gone = allowed is not None and not any(address in self._workers for address in allowed)
            return ((one is not None and one.silent) or gone) and bool(self._usable())

    def forget(self, key: str) -> None:
        """The task ``key`` has ended."""
        with self._lock:
            self._allowed.pop(key, None)

    def submitted(self, chunk: int) -> int:
        """A chunk is submitted; how often it was before."""
        with self._lock:
            before = self._submitted.get(chunk, 0)
            self._submitted[chunk] = before + 1
            while len(self._submitted) > SUBMITTED:
                del self._submitted[next(iter(self._submitted))]
            return before

    def blame(self, chunk: int, name: str) -> bool:
        """Remember that the worker ``name`` failed at a chunk; False if there is no other worker that has not."""
        with self._lock:
            self._blamed.setdefault(chunk, set()).add(name)
            while len(self._blamed) > BLAMED:
                del self._blamed[next(iter(self._blamed))]
            return any(self._workers[address].name not in self._blamed[chunk] for address in self._usable())

    def pardon(self, chunk: int) -> None:
        """Forget which workers have failed at the chunk."""
        with self._lock:
            self._blamed.pop(chunk, None)

    def broken(self, name: str, why: str) -> list[str]:
        """The worker ``name`` cannot work, because of its machine."""
        with self._lock:
            return self._changed(
                {f"worker {name}": f"the worker {name} cannot encode: {why}; check its disk and memory"}
            )

    def works(self, name: str) -> None:
        """The worker ``name`` has encoded something."""
        with self._lock:
            self._told.pop(f"worker {name}", None)
