"""Runs an ``Exchange`` for every broadcast of this machine whose spool is in a store, until the store has been cleared."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from streamwave.errors import StreamWaveError
from streamwave.spool.broadcast import BroadcastSpool, broadcasts
from streamwave.spool.remote.exchange import LOOK_S, Exchange

log = logging.getLogger("streamwave.spool")

#: Exchanges that run concurrently, so that a hanging store delays no other broadcast.
LOOKS_AT_ONCE = 16


class Exchanges:
    """The exchange thread of a service for the spool ``root``; ``options`` are those of the stores."""

    def __init__(self, root: Path, options: Mapping[str, Any]) -> None:
        self._root, self._options = root, options
        self._known: dict[Path, Exchange | None] = {}
        self._looks: dict[Path, Future[None]] = {}
        self._kicked, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="exchanges", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def kick(self) -> None:
        """Run all exchanges now instead of after the next interval."""
        self._kicked.set()

    def stop(self) -> None:
        """Stop the thread. Runs continue, and the next service resumes the exchanges."""
        self._stopping.set()
        self._kicked.set()
        self._thread.join(10)

    def _run(self) -> None:
        with ThreadPoolExecutor(LOOKS_AT_ONCE, thread_name_prefix="exchange") as pool:
            while not self._stopping.is_set():
                try:
                    self._look_at_all(pool)
                except Exception:
                    log.exception("the exchange with the spool's store failed; retrying")
                self._kicked.wait(LOOK_S)
                self._kicked.clear()
            pool.shutdown(wait=False, cancel_futures=True)
        for exchange in self._known.values():
            if exchange is not None:
                exchange.close()

    def _look_at_all(self, pool: ThreadPoolExecutor) -> None:
        found = {spool.folder: spool for spool in broadcasts(self._root)}
        for gone in self._known.keys() - found.keys():
            del self._known[gone]
        for folder, spool in found.items():
            if folder not in self._known:
                self._meet(folder, spool)
            exchange = self._known.get(folder)
            if exchange is None or (folder in self._looks and not self._looks[folder].done()):
                continue
            if exchange.cleared:
                exchange.close()
                self._known[folder] = None
            else:
                self._looks[folder] = pool.submit(exchange.look)
        self._looks = {folder: look for folder, look in self._looks.items() if folder in found}

    def _meet(self, folder: Path, spool: BroadcastSpool) -> None:
        try:
            self._known[folder] = Exchange(spool, self._options) if spool.info().spool else None
        except StreamWaveError as error:  # the reconciler recreates a damaged description
            log.debug("%s: %s", folder, error)
