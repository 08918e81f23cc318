"""The queue between the thread that reads a source and the one that takes its packets: bounded in number and in bytes."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class BoundedQueue(Generic[T]):
    """A queue of at most ``most`` items and ``most_bytes`` in total; a larger item passes if the queue is empty."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()

    def put(self, item: T, size_bytes: int = 0, *, timeout_s: float | None = None) -> bool:
        """Add ``item`` once there is room; False if there is none within ``timeout_s`` (None: wait for ever)."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_room(size_bytes), timeout_s):
                return False
            self._items.append((item, size_bytes))
            self._bytes += size_bytes
            self._changed.notify_all()
        return True

    def _has_room(self, size_bytes: int) -> bool:
        return len(self._items) < self._most and (not self._items or self._bytes + size_bytes <= self._most_bytes)

    def get(self, *, timeout_s: float) -> T | None:
        """The oldest item; None if none comes within ``timeout_s``."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._items), timeout_s):
                return None
            item, size_bytes = self._items.popleft()
            self._bytes -= size_bytes
            self._changed.notify_all()
        return item
