"""Start as many workers as the streams need, and end those that are not needed: an example of Dask's adaptive deployment.

    python deployments/elastic.py dask://studio:8786 http://127.0.0.1:8081/status --minimum 1 --maximum 4

It starts them on this machine. To start them elsewhere (machines of a cloud, jobs of a cluster), replace ``Machine``: ``start``
has to run ``streamwave worker``, and ``close`` has to send it SIGTERM, which costs no chunk. See docs/howto/workers.md.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from distributed import Status
from distributed.deploy.adaptive import Adaptive
from distributed.deploy.spec import ProcessInterface, SpecCluster

from streamwave.cluster.dask_config import prepare, security
from streamwave.cluster.endpoint import endpoint
from streamwave.config.settings import Settings

#: Share of the slots that streams may use, so that a moment of more motion does not delay them.
USED = 0.8
#: How long a worker may take to finish what it has begun.
DRAIN_S = 120.0


class Existing(ProcessInterface):
    """The scheduler, which runs already, and continues to."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address


class Machine(ProcessInterface):
    """One worker: the command ``streamwave worker`` on this machine, with a state folder of its own below ``folder``."""

    def __init__(self, scheduler: str, name: int, folder: str) -> None:
        super().__init__(scheduler, name)
        self._argv = [str(Path(sys.executable).with_name("streamwave")), "worker", scheduler]
        self._environment = {**os.environ, "STREAMWAVE_STATE_DIR": f"{folder}/{name}"}

    async def start(self) -> None:
        """Called by Dask."""
        self._process = subprocess.Popen(self._argv, env=self._environment)
        await super().start()

    async def close(self) -> None:
        """Called by Dask: the worker finishes what it has begun, and gives the rest back."""
        if self.status is not Status.closed:
            self.status = Status.closing
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, DRAIN_S)
            self._process.kill()
        await super().close()


class ByDemand(Adaptive):
    """Chooses the number of workers by ``encoding`` in StreamWave's status, instead of by what is queued at the moment."""

    def __init__(self, *arguments: Any, status_url: str, slots: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._url, self._slots = status_url, slots

    async def target(self) -> int:
        """Called by Dask: the number of workers that are needed."""
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            encoding = (await client.get(self._url)).raise_for_status().json()["encoding"]
        each = encoding["slots"] / encoding["workers"] if encoding["workers"] else self._slots
        return math.ceil(encoding["demand"] / USED / each)


async def adapt(arguments: argparse.Namespace) -> None:
    """Run until SIGTERM or Ctrl-C."""
    settings = Settings.load()
    at = endpoint(arguments.scheduler, settings.cluster_keys, plain=settings.cluster_plain)
    prepare(quiet=False)
    stop = asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    async with SpecCluster(
        scheduler={"cls": Existing, "options": {"address": at.address}},
        worker={"cls": Machine, "options": {"folder": str(settings.state_dir / "elastic")}},
        security=security(at),
        asynchronous=True,
        shutdown_scheduler=False,
    ) as cluster:
        cluster.adapt(
            Adaptive=ByDemand, status_url=arguments.status, slots=settings.ffmpeg_slot_count, interval=arguments.interval,
            minimum=arguments.minimum, maximum=arguments.maximum,
        )  # fmt: skip
        await stop.wait()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scheduler", help="address of the scheduler")
    parser.add_argument("status", help="address of GET /status of the ingest service")
    parser.add_argument("--minimum", type=int, default=1, help="number of workers that always run")
    parser.add_argument("--maximum", type=int, default=4, help="highest number of workers")
    parser.add_argument("--interval", default="5s", help="how often to decide; workers end after three decisions")
    asyncio.run(adapt(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
