"""An HTTP server for tests that sends pieces at given times, like a camera, by default without a Content-Length."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler

from tests.support.http import answering

#: Time at which a piece is sent, in seconds after the request, and its bytes.
Piece = tuple[Fraction, bytes]


@contextmanager
def paced(
    pieces: Sequence[Piece],
    name: str = "camera",
    kind: str = "application/octet-stream",
    length: int | None = None,
    sent_s: list[list[float]] | None = None,
) -> Iterator[str]:
    """The URL at which ``pieces`` are sent with content type ``kind``, after which the connection is closed.

    ``length`` is the Content-Length. ``sent_s`` gets, for each request, the times of the monotonic clock at which the pieces
    were really sent, which is later on a busy machine.
    """

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        if length is not None:
            request.send_header("Content-Length", str(length))
        request.end_headers()
        begun, sent = time.monotonic(), list[float]()
        if sent_s is not None:
            sent_s.append(sent)
        with suppress(OSError):
            for due_s, data in pieces:
                time.sleep(max(0.0, float(due_s) - (time.monotonic() - begun)))
                sent.append(time.monotonic())
                request.wfile.write(data)

    with answering(answer) as address:
        yield f"{address}/{name}"
