"""An HTTP proxy (RFC 9110, 9.3.6 and RFC 9112, 3.2.2) on a local port, for libavformat in this process.

It resolves each host, checks the addresses, and connects to one of exactly those, so a DNS change between check and use has no
effect. Refused and unreachable hosts get the same response.
"""

from __future__ import annotations

import select
import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

from streamwave.errors import SourceError

_HEAD_BYTES = 64 * 1024
_PIECE_BYTES = 64 * 1024
#: Timeout of reading the request and of connecting.
_TIMEOUT_S = 15.0
#: A connection that carries no data in either direction for this long is closed.
_IDLE_S = 600.0
_REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Egress:
    """The proxy. ``resolve`` returns the addresses of a host that may be connected to, or raises SourceError."""

    def __init__(self, resolve: Callable[[str], list[str]]) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError, ValueError):
                    _serve(self.request, resolve)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def start(self) -> str:
        """Start the proxy, which runs for the life of this process; return its address."""
        threading.Thread(target=self._server.serve_forever, name="egress", daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"


def _serve(client: socket.socket, resolve: Callable[[str], list[str]]) -> None:
    client.settimeout(_TIMEOUT_S)
    head, rest = _read_head(client)
    request, _, fields = head.partition(b"\r\n")
    method, target, version = request.decode("latin-1").split(" ")
    parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
    if not parts.hostname or (method != "CONNECT" and parts.scheme != "http"):
        client.sendall(_REFUSED)
        return
    try:
        server = _connect(resolve(parts.hostname), parts.port or 80)
    except (SourceError, OSError):
        client.sendall(_REFUSED)
        return
    with server:
        if method == "CONNECT":
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
            host = parts.netloc.rpartition("@")[2]
            kept = [line for line in fields.split(b"\r\n") if not line.lower().startswith(b"host:")]
            lines = [f"{method} {path} {version}".encode("latin-1"), f"Host: {host}".encode("latin-1"), *kept]
            server.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        server.sendall(rest)
        _pass_on(client, server)


def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(_PIECE_BYTES)
        if not piece or len(data) > _HEAD_BYTES:
            raise ValueError
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _connect(addresses: list[str], port: int) -> socket.socket:
    failure: OSError | None = None
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout=_TIMEOUT_S)
        except OSError as error:
            failure = error
    raise failure or OSError("no address")


def _pass_on(client: socket.socket, server: socket.socket) -> None:
    """Relay data in both directions until either side closes."""
    other = {client.fileno(): server, server.fileno(): client}
    ends = {client.fileno(): client, server.fileno(): server}
    waiting = select.poll()
    for number in ends:
        waiting.register(number, select.POLLIN)
    while ready := waiting.poll(_IDLE_S * 1000):
        for number, _ in ready:
            data = ends[number].recv(_PIECE_BYTES)
            if not data:
                return
            other[number].sendall(data)
