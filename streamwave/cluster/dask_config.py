"""Dask's settings for scheduler, workers and runs. Nothing imports Dask before ``prepare`` is called."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from streamwave.cluster.endpoint import CERTIFICATE, KEY, Endpoint
from streamwave.cluster.strangers import guard
from streamwave.util.logs import OneLine, Repeated

if TYPE_CHECKING:
    from distributed.security import Security

DASK: dict[str, object] = {
    # A connection on which nothing is acknowledged for this long is dead; Dask refuses less than 11 s.
    "distributed.comm.timeouts.tcp": "12s",
    "distributed.comm.timeouts.connect": "5s",
    # A worker without a heartbeat for this long is removed. Runs move their chunks away from it earlier (``cluster``).
    "distributed.scheduler.worker-ttl": "10s",
    # How many workers may die during a chunk before Dask gives it back. Chunks that only waited at a dead worker count too.
    "distributed.scheduler.allowed-failures": 10,
    # A chunk is sent whole; the default warns above 10 MB.
    "distributed.admin.large-graph-warning-threshold": "1GiB",
    # What grows with the number of chunks, or costs CPU time, for diagnostics that nobody reads.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.low-level-log-length": 1000,
    "distributed.diagnostics.computations.max-history": 1,
    "distributed.diagnostics.erred-tasks.max-history": 10,
    "distributed.diagnostics.nvml": False,
    "distributed.scheduler.active-memory-manager.start": False,
    # Both insist on an HTTP server (on the loopback interface, any port). It answers nothing but whether they are there.
    "distributed.scheduler.http.routes": ["distributed.http.health"],
    "distributed.worker.http.routes": ["distributed.http.health"],
    # Chunks are in flight or being fetched: nothing to spill, and no reason to pause.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}


def prepare(*, quiet: bool) -> None:
    """Import Dask with these settings. ``quiet``: print none of its messages, because runs report what matters themselves."""
    import dask

    dask.config.set(DASK)
    import distributed  # noqa: F401  # sets up its logging, which is changed here

    logger = logging.getLogger("distributed")
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    if quiet:
        logger.handlers[:] = [logging.NullHandler()]
    for handler in logger.handlers:
        handler.setFormatter(OneLine())
        if not any(isinstance(one, Repeated) for one in handler.filters):
            handler.addFilter(Repeated())  # strangers who connect without a key cause one message each
    guard()


def security(endpoint: Endpoint) -> Security | None:
    """Mutual TLS with the keys of ``endpoint``; None for plain connections."""
    from distributed.security import Security

    if endpoint.key_folder is None:
        return None
    certificate, key = f"{endpoint.key_folder}/{CERTIFICATE}", f"{endpoint.key_folder}/{KEY}"
    roles = {f"tls_{role}_{kind}": path for role in ("client", "scheduler", "worker")
             for kind, path in (("cert", certificate), ("key", key))}  # fmt: skip
    return Security(require_encryption=True, tls_ca_file=certificate, **roles)
