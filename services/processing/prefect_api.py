"""The connection to Prefect's API. Whatever fails because the server is unavailable raises PrefectUnavailable."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound, PrefectException

from streamwave.errors import StreamWaveError


class PrefectUnavailable(StreamWaveError):
    """Prefect's server cannot be reached, or it fails."""


class PrefectApi:
    """One client, opened at its first use. Thread-safe."""

    def __init__(self) -> None:
        self._client: SyncPrefectClient | None = None
        self._lock = threading.Lock()

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        """The client, for calls whose failures become PrefectUnavailable; ObjectNotFound passes through."""
        try:
            with self._lock:
                if self._client is None:
                    self._client = get_client(sync_client=True).__enter__()
                client = self._client
            yield client
        except ObjectNotFound:
            raise
        except (httpx.HTTPError, PrefectException, RuntimeError, OSError) as error:
            raise PrefectUnavailable(
                f"Prefect's server does not answer ({type(error).__name__}: {str(error)[:200]})"
            ) from None

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.__exit__(None, None, None)
