"""A chunk on its way to all outputs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from streamwave.manifest.packaged import PackagedChunk


class Inbox(Protocol):
    """Where an output receives its deliveries."""

    def offer(self, delivery: Delivery) -> bool:
        """Accept ``delivery`` unless there is no room for it."""


@dataclass(eq=False)
class Delivery:
    """A chunk for all outputs. ``changed`` guards it.

    ``done`` is called once no output needs the chunk's files any more. ``info`` is the broadcast's metadata to publish with the
    chunk, if it is known. ``stored``: at least one output has stored the chunk; ``fault``: an output has failed because of it.
    """

    changed: threading.Condition
    chunk: PackagedChunk
    session: str
    period: str
    wall_unix_ms: int | None
    done: Callable[[], None]
    info: dict[str, str] | None = None
    stored: bool = False
    fault: Exception | None = None
    _holders: int = 0

    def hand_out(self, inboxes: Iterable[Inbox]) -> None:
        """Offer it to every output. An output that has no room needs the files no longer."""
        offered = list(inboxes)
        self._holders = len(offered)  # before any output can let go of it
        for inbox in offered:
            if not inbox.offer(self):
                self.release()

    def release(self, *, stored: bool = False, fault: Exception | None = None) -> None:
        """Let go of it: an output has ``stored`` the chunk, has failed with ``fault``, or has no room."""
        with self.changed:
            self.stored, self.fault = self.stored or stored, fault or self.fault
            self._holders -= 1
            self.changed.notify_all()
            last = self._holders == 0
        if last:
            self.done()
