"""Mutual TLS: who has no key, or another one, reaches neither the scheduler nor a worker."""

from __future__ import annotations

import asyncio
import socket
import stat
from contextlib import ExitStack
from pathlib import Path
from select import select
from typing import Any

import pytest

from streamwave.cluster.cluster import check_workers, client_of, workers_of
from streamwave.cluster.dask_config import prepare, security
from streamwave.cluster.endpoint import CERTIFICATE, KEY, Endpoint
from streamwave.cluster.keys import create_keys
from streamwave.cluster.strangers import PENDING
from streamwave.errors import StreamWaveError
from streamwave.util.logs import MAX_SIMILAR
from tests.support.cluster import machines
from tests.support.media import ffmpeg_path
from tests.support.processes import wait_for


def test_only_who_has_the_key_reaches_scheduler_and_workers(tmp_path: Path) -> None:
    ours, others = tmp_path / "keys", tmp_path / "others"
    with machines(tmp_path, STREAMWAVE_CLUSTER_KEYS=str(ours)) as some:
        done = some.cli("made").run("cluster", "keys")
        assert (done.code, done.out) == (0, f"{ours / CERTIFICATE}\n{ours / KEY}\n")
        assert stat.S_IMODE((ours / KEY).stat().st_mode) == 0o600
        key = (ours / KEY).read_bytes()
        again = some.cli("made").run("cluster", "keys")
        assert again.code == 2
        assert "already has" in again.err and (ours / KEY).read_bytes() == key
        some.scheduler()
        some.worker("one")
        scheduler = Endpoint(address=f"tls://127.0.0.1:{some.port}", key_folder=str(ours))
        check_workers(scheduler, ffmpeg_path())
        (worker,) = asyncio.run(workers(scheduler))
        create_keys(others)
        plain = worker.replace("tls://", "tcp://")
        strangers = [
            Endpoint(address=scheduler.address, key_folder=str(others)),
            Endpoint(address=f"tcp://127.0.0.1:{some.port}"),
            Endpoint(address=worker, key_folder=str(others)),
            Endpoint(address=plain),
        ]
        assert answers(Endpoint(address=worker, key_folder=str(ours)))
        assert [one for one in strangers if answers(one)] == []
        with pytest.raises(StreamWaveError, match="does not answer"):
            check_workers(strangers[0], ffmpeg_path())


def test_strangers_take_few_descriptors_and_lines(tmp_path: Path) -> None:
    ours = tmp_path / "keys"
    create_keys(ours)
    with machines(tmp_path, STREAMWAVE_CLUSTER_KEYS=str(ours)) as some, ExitStack() as stack:
        scheduler = some.scheduler()
        descriptors = Path(f"/proc/{scheduler.process.pid}/fd")
        before = len(list(descriptors.iterdir()))

        def stranger() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", some.port), 10))

        silent = [stranger() for _ in range(4 * PENDING)]
        wait_for(lambda: len(select(silent, [], [], 0)[0]) >= 3 * PENDING, "the end of the oldest connections")
        assert len(list(descriptors.iterdir())) <= before + PENDING
        # Who has the key is not kept out.
        assert asyncio.run(workers(Endpoint(address=f"tls://127.0.0.1:{some.port}", key_folder=str(ours)))) == {}
        wait_for(lambda: len(select(silent, [], [], 0)[0]) == len(silent), "the end of the others")
        loud = [stranger() for _ in range(2 * PENDING)]
        for one in loud:
            one.sendall(b"GET / HTTP/1.0\r\n\r\n")
        wait_for(lambda: len(select(loud, [], [], 0)[0]) == len(loud), "the end of what is no TLS")
        assert 0 < scheduler.log.read_text().count("handshake failed") <= 4 * MAX_SIMILAR


async def workers(scheduler: Endpoint) -> dict[str, Any]:
    async with await client_of(scheduler) as client:
        return await workers_of(client)


def answers(peer: Endpoint) -> bool:
    """Whether a scheduler or worker talks to us."""
    prepare(quiet=True)
    from distributed.comm.core import connect as reach

    async def ask() -> bool:
        keys = security(peer)
        arguments = keys.get_connection_args("client") if keys is not None else {}
        try:
            comm = await reach(peer.address, timeout=3, **arguments)
            await comm.write({"op": "identity", "reply": True})
            found = await asyncio.wait_for(comm.read(), 10)
            comm.abort()
        except (OSError, TimeoutError):
            return False
        return "type" in found

    return asyncio.run(ask())
