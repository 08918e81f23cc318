"""Which of the broadcasts that wait for a flow run get one now. Pure functions; ``T`` stands for a broadcast."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from services.processing.watch import Watch

T = TypeVar("T")


def turns(
    waiting: Mapping[T, Watch], known: Iterable[tuple[str, Watch]], stream_of: Callable[[T], str], slots: int
) -> list[T]:
    """The broadcasts to start now, in order: at most ``slots``, and at most one stuck broadcast at a time.

    ``known`` are the stream and the watch of every broadcast, whether it waits or has a run.
    """
    known = list(known)
    # Each stuck broadcast occupies memory for as long as its run waits for its outputs.
    busy = any(watch.stuck and watch.has_run for _stream, watch in known)
    chosen = []
    for one in next_starts(one_each(waiting, known, stream_of), slots):
        if waiting[one].stuck:
            if busy:
                continue
            busy = True
        chosen.append(one)
    return chosen


def next_starts(waiting: Mapping[T, Watch], slots: int) -> list[T]:
    """At most ``slots`` of the broadcasts, those whose last start is longest ago first, stuck ones last.

    A broadcast that was never started precedes all others; of several, the one that has waited longest comes first. So
    a broadcast whose runs keep failing takes turns with the others.
    """
    order = sorted(
        waiting, key=lambda one: (waiting[one].stuck, waiting[one].tried_at, waiting[one].waiting_since or 0.0)
    )
    return order[: max(0, slots)]


def one_each(
    waiting: Mapping[T, Watch], known: Iterable[tuple[str, Watch]], stream_of: Callable[[T], str]
) -> dict[T, Watch]:
    """``waiting`` without the broadcasts whose stream already has its runs.

    A stream gets one run for the broadcast that is being received, and one for an earlier broadcast. So a publisher who starts
    broadcast after broadcast occupies at most two slots. Stuck broadcasts do not count.
    """
    taken = {(stream, watch.receiving) for stream, watch in known if watch.has_run and not watch.stuck}
    chosen: dict[T, Watch] = {}
    for one, watch in waiting.items():
        slot = (stream_of(one), watch.receiving)
        if watch.stuck or slot not in taken:
            chosen[one] = watch
            taken |= set() if watch.stuck else {slot}
    return chosen
