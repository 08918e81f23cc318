"""A proxy in front of an HTTP endpoint that simulates faults of networks and services."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["500", "503", "429", "reset", "time-out", "truncated", "late"]
FAULTS: tuple[Fault, ...] = ("500", "503", "429", "reset", "time-out", "truncated", "late")

LATE_S = 2.0

_ANSWERS = {
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "503": (503, "SlowDown", "Please reduce your request rate."),
    "429": (429, "TooManyRequests", "Too many requests."),
}


@dataclass
class Weather:
    """The simulated conditions: a ``share`` of requests (0 to 1) meets one of ``faults``; no request is answered sooner
    than ``latency_s`` after it was received completely; nor, with ``gathers``, sooner than that after the newest
    request: concurrent requests then overlap, however long a busy machine takes to send them.

    ``spans`` are the latest requests as (received, answered), in seconds of the monotonic clock.
    """

    faults: tuple[Fault, ...] = FAULTS
    share: float = 0.0
    latency_s: float = 0.0
    gathers: bool = False
    last_came: float = 0.0
    random: random.Random = field(default_factory=lambda: random.Random(1))
    met: Counter[str] = field(default_factory=Counter)
    spans: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=10_000))

    def round_trips(self) -> int:
        """Length of the longest sequence among the latest requests in which each came after the previous one was answered."""
        count, free_at = 0, 0.0
        for came, answered in sorted(self.spans, key=lambda span: span[1]):
            if came >= free_at:
                count, free_at = count + 1, answered
        return count


@contextmanager
def proxy(endpoint: str, weather: Weather) -> Iterator[str]:
    """The address of a proxy to ``endpoint``; ``weather`` may be changed at any time."""
    address = urlsplit(endpoint)
    loop = asyncio.new_event_loop()
    ready: list[int] = []
    up = threading.Event()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while await _exchange(reader, writer, address.hostname or "", address.port or 80, weather):
                    pass
        except asyncio.CancelledError:
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    def run() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0, limit=2**20))
        ready.append(server.sockets[0].getsockname()[1])
        up.set()
        loop.run_forever()
        server.close()
        for task in list(tasks):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    thread = threading.Thread(target=run, name="fault-proxy", daemon=True)
    thread.start()
    assert up.wait(60)
    try:
        yield f"http://127.0.0.1:{ready[0]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int, weather: Weather
) -> bool:
    """Forward one request and its answer. Returns whether the connection stays open."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return False
    came, lower = time.monotonic(), head.lower()
    if b"expect: 100-continue" in lower:
        weather.met["asked first"] += 1
        await asyncio.sleep(weather.latency_s)  # a new connection costs another round trip
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _body(reader, lower)
    weather.last_came = time.monotonic()
    due = weather.last_came + weather.latency_s
    fault = weather.random.choice(weather.faults) if weather.random.random() < weather.share else None
    weather.met[fault or "none"] += 1
    if fault in _ANSWERS:
        await _until(due)
        status, code, text = _ANSWERS[fault]
        xml = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{text}</Message></Error>".encode()
        writer.write(
            f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(xml)}\r\n\r\n".encode()
        )
        if not lower.startswith(b"head"):
            writer.write(xml)
        await writer.drain()
        return not lower.startswith(b"head")
    if fault == "reset":
        await _until(due)
        return False
    if fault == "time-out":
        # Until the client gives up.
        await reader.read(1)
        return False
    if fault == "late":
        await asyncio.sleep(LATE_S)
    answer = await _forward(_without_expect(head), body, host, port)
    await _until(due)
    while weather.gathers and time.monotonic() < weather.last_came + weather.latency_s:
        await _until(weather.last_came + weather.latency_s)
    if fault == "truncated":
        writer.write(
            answer[: max(answer.find(b"\r\n\r\n") + 4 + (len(answer) - answer.find(b"\r\n\r\n") - 4) // 2, 20)]
        )
        if answer.endswith(b"\r\n\r\n"):  # no body to truncate
            return False
        await writer.drain()
        return False
    weather.spans.append((came, time.monotonic()))
    writer.write(answer)
    await writer.drain()
    return b"connection: close" not in answer[: answer.find(b"\r\n\r\n")].lower()


async def _until(due: float) -> None:
    await asyncio.sleep(max(0.0, due - time.monotonic()))


def _without_expect(head: bytes) -> bytes:
    lines = head[:-4].split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith((b"expect:", b"connection:"))]
    return b"\r\n".join([*kept, b"Connection: close"]) + b"\r\n\r\n"


async def _body(reader: asyncio.StreamReader, lower_head: bytes) -> bytes:
    """The request's body, unmodified."""
    headers = dict(line.split(b": ", 1) for line in lower_head[:-4].split(b"\r\n")[1:] if b": " in line)
    if b"chunked" in headers.get(b"transfer-encoding", b""):
        whole = b""
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            whole += line + await reader.readexactly(size + 2)
            if size == 0:
                return whole
    return await reader.readexactly(int(headers.get(b"content-length", b"0")))


async def _forward(head: bytes, body: bytes, host: str, port: int) -> bytes:
    """The endpoint's whole answer, with the Connection header adapted to our connection."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(head + body)
        await writer.drain()
        answer = await reader.read(-1)
    finally:
        writer.close()
    end = answer.find(b"\r\n\r\n")
    lines = [line for line in answer[:end].split(b"\r\n") if not line.lower().startswith(b"connection:")]
    if any(line.lower().startswith(b"content-length:") for line in lines):
        lines[0] = lines[0].replace(b"HTTP/1.0", b"HTTP/1.1")  # keep the connection open, as a real service does
    return b"\r\n".join(lines) + answer[end:]
