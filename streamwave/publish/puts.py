"""Write several objects to one store at the same time, because each request to a remote store costs a round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

from streamwave.storage.store import Store

#: Most objects of one broadcast that are written at the same time.
PARALLEL_PUTS = 16


class Puts:
    """A pool of threads that write to ``store``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(PARALLEL_PUTS, thread_name_prefix="put")

    def read_and_put(self, objects: Iterable[tuple[str, Callable[[], bytes]]], *meanwhile: Callable[[], None]) -> None:
        """Write objects, whose bytes their functions read, and run ``meanwhile`` at the same time; raises what any raised."""
        puts = [self._pool.submit(lambda n=name, r=read: self._store.put(n, r())) for name, read in objects]  # type: ignore[misc]
        _all_of([*puts, *map(self._pool.submit, meanwhile)])

    def put(self, objects: Mapping[str, bytes]) -> None:
        """Write ``objects``; raises what any of the writes raised."""
        _all_of([self._pool.submit(self._store.put, *one) for one in objects.items()])

    def close(self, *, wait_for_puts: bool) -> None:
        """Release the threads."""
        self._pool.shutdown(wait=wait_for_puts, cancel_futures=True)


def _all_of(puts: Iterable[Future[None]]) -> None:
    """Wait for all writes even if one fails: none may still be running when the caller cleans up."""
    for put in wait(list(puts)).done:
        put.result()
