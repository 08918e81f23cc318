"""One publisher: its connection to the gate, and the gate's connection to nginx-rtmp, which starts with the handshake."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from typing import Protocol, cast

from services.rtmp.admission import Admission, Stage
from services.rtmp.chunks import ChunkReader, as_chunks, chunk_size_message
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

#: Size of a read, and of the write buffer: together the memory of one direction.
READ_BYTES = 64 * 1024
WRITE_BYTES = 256 * 1024
#: After connecting, a client must complete the handshake within HANDSHAKE_S and send its publish command within SPEAKING_S.
#: The publish hook may take ASKING_S (nginx-rtmp itself gives up after 10 s). A publisher that sends nothing for SILENCE_S is
#: gone, because nginx-rtmp pings it every 10 s and encoders answer.
HANDSHAKE_S, SPEAKING_S, ASKING_S, SILENCE_S = 10.0, 20.0, 15.0, 30.0
#: How long to wait, when a connection closes, for the other side to read what is still buffered.
_FLUSH_S = 2.0
#: How often to retry the connection to nginx-rtmp while it restarts.
_RETRY_S = 0.1


class Gate(Protocol):
    """What a connection needs from its gate."""

    loop: asyncio.AbstractEventLoop
    admission: Admission
    nginx: tuple[str, int]
    buffer: memoryview

    def refused(self, reason: str, address: str) -> None:
        """Count a refusal for the log."""

    def accepted(self, address: str) -> None:
        """Log a publish."""


class Publisher(asyncio.BufferedProtocol):
    """The publisher's side. All connections share one read buffer, which each empties before the next one reads."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.address, self.stage = "", Stage.SILENT
        self.deadline = gate.loop.time() + HANDSHAKE_S
        self.transport: asyncio.Transport | None = None
        self._began = gate.loop.time()
        self._hello = bytearray()
        self._greeting_left = HANDSHAKE_BYTES
        self._reader = ChunkReader()
        self._chunk_size = DEFAULT_CHUNK  # of the chunks that we write to nginx-rtmp
        self._connecting: asyncio.Task[None] | None = None
        self._nginx: Upstream | None = None
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the new connection."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(WRITE_BYTES)
        peer = self.transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        self.gate.admission.enter(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """The shared read buffer."""
        return self.gate.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Handle received bytes."""
        self._receive(bytes(self.gate.buffer[:nbytes]))

    def _receive(self, data: bytes) -> None:
        try:
            if self.stage is Stage.PUBLISHING:
                self.deadline = self.gate.loop.time() + SILENCE_S
                self._reader.feed(data)
                self._forward()
            else:
                self._before_publishing(data)
        except Refused as error:
            self.refuse(str(error))

    def _before_publishing(self, data: bytes) -> None:
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
        self._forward()

    async def _connect(self) -> None:
        """Connect to nginx-rtmp, retrying until the deadline, and forward the first part of the handshake."""
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
            self._receive(rest)

    def _forward(self) -> None:
        """Forward what the reader has checked, until the publish hook has to decide."""
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
            return  # the reader accepts an Abort only if no message is incomplete
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
        nginx.write(as_chunks(message, self._chunk_size))

    def _set_chunk_size(self, nginx: Upstream) -> None:
        """Announce the publisher's chunk size to nginx-rtmp, which gets the publisher's chunks unchanged from now on."""
        if self._reader.chunk_size != self._chunk_size:
            nginx.write(as_chunks(chunk_size_message(self._reader.chunk_size), self._chunk_size))
            self._chunk_size = self._reader.chunk_size

    def accepted(self) -> None:
        """Forward media from now on: nginx-rtmp has accepted the publish."""
        assert self._nginx is not None
        if not self.gate.admission.advance(self, Stage.PUBLISHING):
            self.refuse("too many publishers")
            return
        self.gate.accepted(self.address)
        self.deadline = self.gate.loop.time() + SILENCE_S
        self._reader.publishing = True
        self._set_chunk_size(self._nginx)
        self._set_reading()
        self._receive(b"")

    def _advance(self, stage: Stage, deadline: float) -> None:
        self.gate.admission.advance(self, stage)
        self.deadline = deadline
        self._set_reading()

    def _set_reading(self) -> None:
        """Pause reading while nginx-rtmp has yet to connect, to decide about the publish, or to take what was written."""
        if self.transport is None or self.transport.is_closing():
            return
        waits = self.stage is Stage.ASKING or (self.stage is Stage.GREETING and self._nginx is None)
        if waits or self._full:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def nginx_is_full(self, full: bool) -> None:
        """Apply or release back-pressure: the write buffer to nginx-rtmp is full, or no longer."""
        self._full = full
        self._set_reading()

    def pause_writing(self) -> None:
        """Stop reading from nginx-rtmp, because the publisher does not read."""
        if self._nginx is not None:
            self._nginx.pause(True)

    def resume_writing(self) -> None:
        """Read from nginx-rtmp again, because the publisher does."""
        if self._nginx is not None:
            self._nginx.pause(False)

    def answer(self, data: bytes) -> None:
        """Send bytes to the publisher."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def refuse(self, reason: str) -> None:
        """End the connection at once, and count the refusal."""
        self.gate.refused(reason, self.address)
        self.gate.admission.leave(self)
        if self.transport is not None:
            self.transport.abort()

    def eof_received(self) -> None:
        """The publisher has closed its sending side: forward what was checked, then close the connection.

        The connection counts against the limits until it is closed, at the latest ``_FLUSH_S`` from now.
        """
        self._leave_nginx()
        if self.transport is not None:
            _finish(self.gate.loop, self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed: disconnect from nginx-rtmp."""
        self.gate.admission.leave(self)
        self._leave_nginx()

    def _leave_nginx(self) -> None:
        """Disconnect from nginx-rtmp after what is buffered."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._nginx is not None:
            self._nginx.end()

    def nginx_is_gone(self) -> None:
        """Disconnect the publisher, which then reconnects: nginx-rtmp has closed the connection or exited."""
        if self.transport is not None:
            _finish(self.gate.loop, self.transport)


class Upstream(asyncio.Protocol):
    """The connection to nginx-rtmp. Forwards its answers, in which ``watch`` looks for the acceptance of the publish."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._transport: asyncio.Transport | None = None
        self._greeting_left = 1 + 2 * HANDSHAKE_BYTES
        self._reader: ChunkReader | None = ChunkReader()
        self._asked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the new connection to nginx-rtmp, unless the publisher has left."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(WRITE_BYTES)
        publisher = self._publisher.transport
        if publisher is None or publisher.is_closing():
            self._transport.abort()

    def watch(self) -> None:
        """Look for the acceptance of a publish from now on: the publish command is about to be forwarded."""
        self._asked = True

    def write(self, data: bytes) -> None:
        """Send bytes to nginx-rtmp."""
        if self._transport is not None:
            self._transport.write(data)

    def pause(self, paused: bool) -> None:
        """Pause or resume reading from nginx-rtmp: back-pressure of the publisher."""
        if self._transport is not None and not self._transport.is_closing():
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Forward an answer of nginx-rtmp, and look in it for the acceptance of the publish."""
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
        """Apply back-pressure to the publisher: nginx-rtmp does not keep up."""
        self._publisher.nginx_is_full(True)

    def resume_writing(self) -> None:
        """Release back-pressure: nginx-rtmp keeps up again."""
        self._publisher.nginx_is_full(False)

    def end(self) -> None:
        """Close the connection once everything is written."""
        if self._transport is not None:
            _finish(self._publisher.gate.loop, self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Disconnect the publisher: nginx-rtmp has closed the connection or exited."""
        self._publisher.nginx_is_gone()


def _finish(loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
    """Close once everything is written, or after ``_FLUSH_S``; a transport that is already closing could wait for ever."""
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
    """The first line to nginx-rtmp (PROXY protocol, version 1): the publisher's address and ours."""
    ends = [transport.get_extra_info(name) for name in ("peername", "sockname")]
    hosts = [ipaddress.ip_address(end[0].partition("%")[0]) for end in ends]
    mapped = [host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else host for host in hosts]
    kind, shown = ("TCP4", mapped) if all(mapped) else ("TCP6", hosts)
    return f"PROXY {kind} {shown[0]} {shown[1]} {ends[0][1]} {ends[1][1]}\r\n".encode()
