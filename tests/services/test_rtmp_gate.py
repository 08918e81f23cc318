"""The gate in front of a server that sends more than nginx-rtmp does."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from services.rtmp import connection
from services.rtmp.connection import Publisher
from services.rtmp.gate import RtmpGate
from services.rtmp.server import PUBLISH_HOST
from tests.support.ports import free_port
from tests.support.rtmp import HANDSHAKE, greeting

CLIENTS = 20
#: User control messages, enough to fill every buffer on the way to a client that does not read.
FLOOD = (b"\x02\0\0\0\0\0\x06\x04\0\0\0\0" + bytes(6)) * 200_000
#: For what takes a second on an idle machine.
LIMIT_S = 120


async def _floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()  # of the PROXY protocol
    await reader.readexactly(1 + HANDSHAKE)
    writer.write(b"\x03" + bytes(2 * HANDSHAKE) + FLOOD)
    await reader.read()
    writer.close()


def _is_owed(one: object) -> bool:
    assert isinstance(one, Publisher)
    return one.transport is not None and one.transport.get_write_buffer_size() > 0


async def _half_closed() -> None:
    port, nginx_port = free_port(), free_port()
    server = await asyncio.start_server(_floods, PUBLISH_HOST, nginx_port)
    gate = RtmpGate("127.0.0.1", port, nginx_port, waiting=CLIENTS, waiting_per_address=CLIENTS)
    await gate.start()
    loop, clients = asyncio.get_running_loop(), []
    before = len(os.listdir("/proc/self/fd"))
    begin, end = greeting()
    try:
        for _ in range(CLIENTS):
            client = socket.socket()
            clients.append(client)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_sendall(client, begin + end)
        async with asyncio.timeout(LIMIT_S):
            while not all(_is_owed(one) for one in gate.admission.waiting()):
                await asyncio.sleep(0.01)
        assert len(gate.admission.waiting()) == CLIENTS
        for client in clients:
            client.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(LIMIT_S):
            while len(os.listdir("/proc/self/fd")) > before + CLIENTS or gate.admission.waiting():
                await asyncio.sleep(0.05)
    finally:
        for client in clients:
            client.close()
        await gate.stop()
        server.close()
        await server.wait_closed()


def test_connections_that_end_without_reading_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-closed connections with unread data would otherwise be kept for ever, and counted by no limit."""
    # On a busy machine, filling the buffers takes longer than the gate's deadlines.
    monkeypatch.setattr(connection, "HANDSHAKE_S", 600.0)
    monkeypatch.setattr(connection, "SPEAKING_S", 600.0)
    asyncio.run(_half_closed())
