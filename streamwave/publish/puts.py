"""Write objects to one store, several at the same time: where requests are round trips, that is what costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

from streamwave.storage.store import Store

#: Objects of one broadcast that are written at the same time.
PARALLEL_PUTS = 16


class Puts:
    """Threads that write to ``store``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(PARALLEL_PUTS, thread_name_prefix="put")

    def read_and_put(self, objects: Iterable[tuple[str, Callable[[], bytes]]], *meanwhile: Callable[[], None]) -> None:
        """Write objects, each as its function gives it; ``meanwhile`` runs at the same time. Raises what any of it raised."""
        puts = [self._pool.submit(lambda n=name, r=read: self._store.put(n, r())) for name, read in objects]  # type: ignore[misc]
        _all_of([*puts, *map(self._pool.submit, meanwhile)])

    def put(self, objects: Mapping[str, bytes]) -> None:
        """Write ``objects``; raises what any of that raised."""
        _all_of([self._pool.submit(self._store.put, *one) for one in objects.items()])

    def close(self, *, wait_for_puts: bool) -> None:
        """Release the threads."""
        self._pool.shutdown(wait=wait_for_puts, cancel_futures=True)


def _all_of(puts: Iterable[Future[None]]) -> None:
    """Wait for all of them, also when one fails: none may still be writing when that is cleaned up after."""
    for put in wait(list(puts)).done:
        put.result()
