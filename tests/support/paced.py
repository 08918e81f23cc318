"""A server of the tests that sends pieces when they are due, as a camera does: by HTTP, without saying how long it will be."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction

#: When a piece is sent, in seconds after the request, and its bytes.
Piece = tuple[Fraction, bytes]


@contextmanager
def paced(
    pieces: Sequence[Piece],
    name: str = "camera",
    kind: str = "application/octet-stream",
    length: int | None = None,
    sent_s: list[list[float]] | None = None,
) -> Iterator[str]:
    """The address at which ``pieces`` are sent to whoever asks, as ``kind``; then the connection is closed.

    ``length`` is said to be theirs. ``sent_s`` gets the times at which they really were sent, on the monotonic clock, for
    each who has asked: on a busy machine all of them are late.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            begun, sent = time.monotonic(), list[float]()
            if sent_s is not None:
                sent_s.append(sent)
            with suppress(OSError):
                for due_s, data in pieces:
                    time.sleep(max(0.0, float(due_s) - (time.monotonic() - begun)))
                    sent.append(time.monotonic())
                    self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/{name}"
        finally:
            server.shutdown()
