"""The process of a worker: a Dask worker that encodes chunks. ``streamwave worker`` starts it, and restarts it when it ends.

It needs the scheduler's address and the key, and nothing else of an installation. It ends when it loses the scheduler, because
Dask workers cannot reconnect.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamwave.cluster.dask_config import prepare, security
from streamwave.cluster.encoder import encoder_digest
from streamwave.cluster.endpoint import Endpoint, endpoint, is_loopback
from streamwave.cluster.order import resource
from streamwave.config.settings import Settings
from streamwave.errors import StreamWaveError, tell
from streamwave.ffmpeg.locate import FFmpegBinary, dotted, locate
from streamwave.state.folders import close_state
from streamwave.util.private import begin, make_folder
from streamwave.util.scratch import scratch_folder

#: Interval at which a draining worker checks whether it is done.
DRAIN_CHECK_S = 0.05
#: How long a worker waits for the scheduler before it says so.
PATIENCE_S = 10.0
#: How long a worker may take to disconnect.
CLOSE_S = 5.0
#: File in a worker's scratch folder while it is connected to its scheduler.
READY = "ready"


def new_name() -> str:
    """A name for this process. Hosts and PIDs repeat, at least those of containers, so a part of it is random."""
    return f"{socket.gethostname()}:{os.getpid()}-{secrets.token_hex(3)}"


async def work(at: Endpoint, port: int, binary: FFmpegBinary, slots: int, scratch: Path, drain_s: float) -> None:
    """Work for the scheduler until SIGTERM, or until the scheduler is lost.

    At SIGTERM the worker gives back the chunks that it has not begun, and ends when the others are finished and fetched, or
    after ``drain_s``. The file ``READY`` in ``scratch`` exists while it is connected.
    """
    prepare(quiet=False)
    from distributed import Worker

    from streamwave.cluster.bench import Bench

    digest, name = encoder_digest(binary.path), new_name()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    worker: Any = Worker(
        at.address,
        nthreads=slots,
        resources={resource(digest): slots},
        name=name,
        host="127.0.0.1" if is_loopback(at.host) else None,
        port=port,
        security=security(at),
        plugins=(Bench(binary.path, scratch, name),),
        memory_limit=0,
        local_directory=str(scratch),
        dashboard_address="127.0.0.1:0",  # Dask insists on one
    )
    stopping = asyncio.create_task(stop.wait())
    started = asyncio.create_task(worker.start())
    print(
        f"worker {name}: {slots} slots, FFmpeg {dotted(binary.version)} (encoder {digest}); scheduler {at.address}",
        flush=True,
    )
    if not (await asyncio.wait([started, stopping], timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED))[0]:
        print(f"worker {name}: waiting for the scheduler; check that it runs, and has the same key", flush=True)
        await asyncio.wait([started, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not started.done():
        return
    try:
        await started
    except RuntimeError as error:  # Dask's own, around the reason
        raise StreamWaveError(f"the worker cannot connect to {at.address}: {error.__cause__ or error}") from None
    (scratch / READY).touch()
    print(f"worker {name}: ready", flush=True)
    gone = asyncio.create_task(worker.finished())
    await asyncio.wait([gone, stopping], return_when=asyncio.FIRST_COMPLETED)
    if gone.done():
        print(f"worker {name}: the connection to the scheduler is lost", flush=True)
    else:
        left = await drain(worker, drain_s)
        unfinished = (
            f"; chunks that go to other workers, because they took longer than {drain_s:g} s: {left}" if left else ""
        )
        print(f"worker {name}: drained{unfinished}", flush=True)


async def drain(worker: Any, limit_s: float) -> int:
    """Let a Dask worker finish what it can within ``limit_s``, give back the rest, and disconnect it.

    Returns the number of chunks that it had begun and has not finished.
    """
    from distributed import Status

    end = time.monotonic() + limit_s
    worker.status = Status.closing_gracefully  # the scheduler sends nothing more
    for key, task in list(worker.state.tasks.items()):
        if task.state in ("ready", "constrained", "waiting"):
            worker.batched_send({"op": "reschedule", "key": key, "stimulus_id": "drain"})
    while worker.status == Status.closing_gracefully and (worker.state.executing_count or worker.data):
        if time.monotonic() > end:
            break
        await asyncio.sleep(DRAIN_CHECK_S)
    left = int(worker.state.executing_count)
    with suppress(OSError, TimeoutError):  # the scheduler is gone
        # Announced, so that Dask blames no chunk for it.
        await asyncio.wait_for(worker.scheduler.retire_workers(workers=[worker.address], stimulus_id="drain"), CLOSE_S)
        await asyncio.wait_for(worker.close(), CLOSE_S)
    return left


def main(arguments: Sequence[str]) -> int:
    """Entry point; the arguments are the scheduler's address, and the port to listen on (0: any)."""
    begin()
    try:
        settings = Settings.load()
        close_state(settings, make=True)
        at = endpoint(arguments[0], settings.cluster_keys, plain=settings.cluster_plain)
        binary = locate(settings.ffmpeg_path)
        folder = settings.state_dir / "worker"
        make_folder(folder)
        # This also removes what a killed worker has left.
        with scratch_folder(folder, "chunks-") as scratch:
            asyncio.run(
                work(at, int(arguments[1]), binary, settings.ffmpeg_slot_count, scratch, settings.drain_timeout_s)
            )
    except StreamWaveError as error:
        return tell(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
