"""gRPC channels to a processing service that add the installation's token to calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from streamwave.state.tokens import GRPC_TOKEN_FILE


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


class _Bearer(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor):
    def __init__(self, state: Path) -> None:
        self._file = state / GRPC_TOKEN_FILE

    def _with_token(self, call: Any, details: Any, request: Any) -> Any:
        metadata = list(details.metadata or [])
        if self._file.exists() and not any(key == "authorization" for key, _ in metadata):
            metadata.append(("authorization", f"Bearer {self._file.read_text().strip()}"))
        more = details.wait_for_ready, details.compression
        return call(_Details(details.method, details.timeout, metadata, details.credentials, *more), request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_stream = _with_token


@contextmanager
def calls(port: int, state: Path) -> Iterator[grpc.Channel]:
    """A channel to the service on ``port`` whose STREAMWAVE_STATE_DIR is ``state``.

    Its token is added to calls without one, unless the token is in the settings, so that the folder has none.
    """
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield grpc.intercept_channel(channel, _Bearer(state))
