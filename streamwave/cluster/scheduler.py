"""The process of a scheduler, which connects runs with workers. It keeps nothing: if it is restarted, runs submit again."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from streamwave.cluster.dask_config import prepare, security
from streamwave.cluster.endpoint import Endpoint


async def schedule(at: Endpoint) -> None:
    """Listen at the address and port of ``at`` until SIGTERM or SIGINT.

    Raises:
        OSError: the address cannot be listened at.
    """
    prepare(quiet=False)
    from distributed import Scheduler

    stop = asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    scheduler: Any = Scheduler(
        host=f"[{at.host}]" if ":" in at.host else at.host,
        port=at.port,
        protocol=at.address.partition("://")[0],
        security=security(at),
        dashboard=False,
        dashboard_address="127.0.0.1:0",  # Dask insists on one
    )
    try:
        await scheduler
    except RuntimeError as error:  # Dask's own, around the reason
        raise (error.__cause__ if isinstance(error.__cause__, OSError) else error) from None
    print(f"scheduler: listening at {at.address}", flush=True)
    await stop.wait()
    await scheduler.close()
