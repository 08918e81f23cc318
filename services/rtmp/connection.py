"""One publisher: its connection to us, and ours to nginx-rtmp, which is made when it has begun the handshake."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from typing import Protocol, cast

from services.rtmp.admission import Admission, Stage
from services.rtmp.chunks import ChunkReader, chunk_size_message, written
from services.rtmp.rules import (
    ABORT,
    COMMANDS,
    DATAS,
    DEFAULT_CHUNK,
    HANDSHAKE_BYTES,
    SET_CHUNK_SIZE,
    VERSION,
    Message,
    Refused,
    check_command,
    check_data,
    values_of,
)
from streamwave.ffmpeg.amf import Value

#: Bytes of one read; with what a writer holds that the other side does not take, the memory of a direction.
READ_BYTES = 64 * 1024
WRITE_BYTES = 256 * 1024
#: A handshake is complete within the first time, a publish asked for within the second, both from the connection on; nginx
#: asks the hooks for 10 s at most; a publisher that sends nothing is gone (nginx-rtmp pings it every 10 s).
HANDSHAKE_S, SPEAKING_S, ASKING_S, SILENCE_S = 10.0, 20.0, 15.0, 30.0
#: What is still to be written to somebody who does not read is given up after this time.
_FLUSH_S = 2.0
#: nginx-rtmp, which is being started again, is tried at this interval.
_RETRY_S = 0.1


class Gate(Protocol):
    """What a connection needs to know of the gate that it came through."""

    loop: asyncio.AbstractEventLoop
    admission: Admission
    nginx: tuple[str, int]
    buffer: memoryview

    def refused(self, reason: str, address: str) -> None:
        """Count a refusal for the log."""

    def accepted(self, address: str) -> None:
        """Log a publish."""


class Publisher(asyncio.BufferedProtocol):
    """The side of the publisher. All connections read into one buffer, which is emptied before the next one reads."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.address, self.stage = "", Stage.SILENT
        self.deadline = gate.loop.time() + HANDSHAKE_S
        self.transport: asyncio.Transport | None = None
        self._began = gate.loop.time()
        self._hello = bytearray()
        self._greeting_left = HANDSHAKE_BYTES
        self._reader = ChunkReader()
        self._chunk_size = DEFAULT_CHUNK  # of what we write to nginx-rtmp
        self._connecting: asyncio.Task[None] | None = None
        self._nginx: Upstream | None = None
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A stranger has connected."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(WRITE_BYTES)
        peer = self.transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        self.gate.admission.enter(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer of the gate."""
        return self.gate.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have arrived."""
        self._take(bytes(self.gate.buffer[:nbytes]))

    def _take(self, data: bytes) -> None:
        try:
            if self.stage is Stage.PUBLISHING:
                self.deadline = self.gate.loop.time() + SILENCE_S
                self._reader.feed(data)
                self._pump()
            else:
                self._early(data)
        except Refused as error:
            self.refuse(str(error))

    def _early(self, data: bytes) -> None:
        if self._nginx is None:
            self._hello += data
            if self._hello[0] != VERSION:
                raise Refused("not RTMP")
            if len(self._hello) > HANDSHAKE_BYTES and self._connecting is None:
                self._advance(Stage.GREETING, self.deadline)
                self._connecting = self.gate.loop.create_task(self._connect())
            return
        if self._greeting_left:
            part = data[: self._greeting_left]
            self._nginx.write(part)
            self._greeting_left -= len(part)
            data = data[len(part) :]
            if self._greeting_left:
                return
            self._advance(Stage.SPEAKING, self._began + SPEAKING_S)
        self._reader.feed(data)
        self._pump()

    async def _connect(self) -> None:
        """Connect to nginx-rtmp and hand on the first part of the handshake; until the deadline, if need be."""
        nginx = Upstream(self)
        while True:
            with contextlib.suppress(OSError):
                await self.gate.loop.create_connection(lambda: nginx, *self.gate.nginx)
                break
            await asyncio.sleep(_RETRY_S)
        assert self.transport is not None
        hello, self._hello, self._nginx = bytes(self._hello), bytearray(), nginx
        nginx.write(_proxy_line(self.transport) + hello[: 1 + HANDSHAKE_BYTES])
        self._set_reading()
        if rest := hello[1 + HANDSHAKE_BYTES :]:
            self._take(rest)

    def _pump(self) -> None:
        """Pass on what has been checked."""
        assert self._nginx is not None
        while self.stage is not Stage.ASKING:
            item = self._reader.next()
            if item is None:
                break
            if isinstance(item, bytes):
                self._nginx.write(item)
            else:
                self._message(self._nginx, item)

    def _message(self, nginx: Upstream, message: Message) -> None:
        if message.kind == ABORT:
            return  # of nothing, says the reader
        if message.kind == SET_CHUNK_SIZE:
            if self.stage is Stage.PUBLISHING:
                self._set_chunk_size(nginx)
            return
        if message.kind in DATAS:
            message = check_data(message)
        elif message.kind in COMMANDS:
            name, message = check_command(message)
            if name == b"publish":
                if self.stage is Stage.PUBLISHING:
                    raise Refused("a second publish on one connection")
                nginx.watch()
                self._advance(Stage.ASKING, self.gate.loop.time() + ASKING_S)
        nginx.write(written(message, self._chunk_size))

    def _set_chunk_size(self, nginx: Upstream) -> None:
        """Tell nginx-rtmp of the publisher's chunks, whose bytes it gets as they are from now on."""
        if self._reader.chunk_size != self._chunk_size:
            nginx.write(written(chunk_size_message(self._reader.chunk_size), self._chunk_size))
            self._chunk_size = self._reader.chunk_size

    def accepted(self) -> None:
        """nginx-rtmp has accepted the publish: media may pass."""
        assert self._nginx is not None
        if not self.gate.admission.advance(self, Stage.PUBLISHING):
            self.refuse("too many publishers")
            return
        self.gate.accepted(self.address)
        self.deadline = self.gate.loop.time() + SILENCE_S
        self._reader.publishing = True
        self._set_chunk_size(self._nginx)
        self._set_reading()
        self._take(b"")

    def _advance(self, stage: Stage, deadline: float) -> None:
        self.gate.admission.advance(self, stage)
        self.deadline = deadline
        self._set_reading()

    def _set_reading(self) -> None:
        """Read unless nginx-rtmp has to come first: to connect, to decide, or to take what it was sent."""
        if self.transport is None or self.transport.is_closing():
            return
        waits = self.stage is Stage.ASKING or (self.stage is Stage.GREETING and self._nginx is None)
        if waits or self._full:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def nginx_is_full(self, full: bool) -> None:
        """Whether more has been written to nginx-rtmp than it takes."""
        self._full = full
        self._set_reading()

    def pause_writing(self) -> None:
        """The publisher does not read."""
        if self._nginx is not None:
            self._nginx.pause(True)

    def resume_writing(self) -> None:
        """It reads again."""
        if self._nginx is not None:
            self._nginx.pause(False)

    def answer(self, data: bytes) -> None:
        """Send to the publisher."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def refuse(self, reason: str) -> None:
        """End the connection at once."""
        self.gate.refused(reason, self.address)
        self.gate.admission.leave(self)
        if self.transport is not None:
            self.transport.abort()

    def eof_received(self) -> None:
        """The publisher has sent everything; what was checked of it still goes to nginx-rtmp.

        Until the connection is closed it counts, and what it does not read is given up.
        """
        self._part()
        if self.transport is not None:
            _finish(self.gate.loop, self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The publisher has gone."""
        self.gate.admission.leave(self)
        self._part()

    def _part(self) -> None:
        """Nothing more goes to nginx-rtmp."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._nginx is not None:
            self._nginx.end()

    def nginx_is_gone(self) -> None:
        """nginx-rtmp has closed the connection, or ended: the publisher is to connect again."""
        if self.transport is not None:
            _finish(self.gate.loop, self.transport)


class Upstream(asyncio.Protocol):
    """The side of nginx-rtmp. What it says goes to the publisher; from ``watch`` on it is read for its decision, too."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._transport: asyncio.Transport | None = None
        self._greeting_left = 1 + 2 * HANDSHAKE_BYTES
        self._reader: ChunkReader | None = ChunkReader()
        self._asked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """nginx-rtmp is there."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(WRITE_BYTES)
        publisher = self._publisher.transport
        if publisher is None or publisher.is_closing():
            self._transport.abort()

    def watch(self) -> None:
        """A publish is asked for: its acceptance counts from now on."""
        self._asked = True

    def write(self, data: bytes) -> None:
        """Send to nginx-rtmp."""
        if self._transport is not None:
            self._transport.write(data)

    def pause(self, paused: bool) -> None:
        """Whether the publisher takes no more."""
        if self._transport is not None and not self._transport.is_closing():
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """nginx-rtmp answers."""
        self._publisher.answer(data)
        if self._reader is not None:
            step = min(self._greeting_left, len(data))
            self._greeting_left -= step
            try:
                if self._decided(self._reader, data[step:]):
                    self._reader = None
                    self._publisher.accepted()
            except Refused as error:
                self._publisher.refuse(f"nginx-rtmp sent {error}")

    def _decided(self, reader: ChunkReader, data: bytes) -> bool:
        reader.feed(data)
        accepted = False
        while (item := reader.next()) is not None:
            if isinstance(item, Message) and item.kind in COMMANDS:
                accepted |= self._asked and _says_published(values_of(item))
        return accepted

    def pause_writing(self) -> None:
        """nginx-rtmp does not keep up."""
        self._publisher.nginx_is_full(True)

    def resume_writing(self) -> None:
        """It does again."""
        self._publisher.nginx_is_full(False)

    def end(self) -> None:
        """Close the connection when everything is written."""
        if self._transport is not None:
            _finish(self._publisher.gate.loop, self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """nginx-rtmp has closed the connection, or ended."""
        self._publisher.nginx_is_gone()


def _finish(loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
    """Close when all is written, or after ``_FLUSH_S``; also one that is closing already, which may wait for ever."""
    transport.close()
    if transport.get_write_buffer_size():
        loop.call_later(_FLUSH_S, transport.abort)


def _says_published(values: list[Value]) -> bool:
    return (
        len(values) > 3
        and values[0] == b"onStatus"
        and isinstance(values[3], dict)
        and values[3].get(b"code") == b"NetStream.Publish.Start"
    )


def _proxy_line(transport: asyncio.Transport) -> bytes:
    """The first line to nginx-rtmp (PROXY protocol, version 1): whose connection this is."""
    ends = [transport.get_extra_info(name) for name in ("peername", "sockname")]
    hosts = [ipaddress.ip_address(end[0].partition("%")[0]) for end in ends]
    mapped = [host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else host for host in hosts]
    kind, shown = ("TCP4", mapped) if all(mapped) else ("TCP6", hosts)
    return f"PROXY {kind} {shown[0]} {shown[1]} {ends[0][1]} {ends[1][1]}\r\n".encode()
