"""HTTP on this machine: options for clients, and a server that sends prepared bytes and closes the connection."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

#: For httpx: no proxy, and no certificates, which would take longer to load than the answer takes to come.
LOCAL: dict[str, Any] = {"trust_env": False, "verify": False}


@contextmanager
def answering(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """The URL of a server that calls ``answer`` to write the answer to each GET, and then closes the connection."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@contextmanager
def sent(body: bytes, name: str, *, held: threading.Event | None = None, at_first: int = 0) -> Iterator[str]:
    """The URL of ``body``, which is sent without a Content-Length. The connection stays open until ``held`` is set.

    The first ``at_first`` bytes are sent separately.
    """

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        with suppress(OSError):
            request.wfile.write(body[:at_first])
            request.wfile.write(body[at_first:])
        assert held is None or held.wait(60)

    with answering(answer) as address:
        try:
            yield f"{address}/{name}"
        finally:
            if held is not None:
                held.set()
