"""An S3 endpoint for the tests: moto's server in its own process, accessed over HTTP."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import botocore.session

from tests.support.ports import free_port
from tests.support.processes import wait_for

KEYS = {"key": "tests", "secret": "tests-secret"}


@dataclass(frozen=True)
class S3:
    """An endpoint; ``options`` are the s3fs arguments for it."""

    endpoint: str

    @property
    def options(self) -> dict[str, Any]:
        """Arguments for ``open_store``."""
        return self.through(self.endpoint)

    def through(self, endpoint: str, **config: Any) -> dict[str, Any]:
        """Arguments for ``open_store`` through another address, with a botocore ``config``."""
        client = {"endpoint_url": endpoint, "region_name": "us-east-1"}
        return {**KEYS, "client_kwargs": client, "config_kwargs": {"s3": {"addressing_style": "path"}, **config}}

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that configure an installation for this endpoint."""
        return {
            "STREAMWAVE_S3_ENDPOINT": self.endpoint, "S3_REGION": "us-east-1", "STREAMWAVE_S3_PATH_STYLE": "true",
            "AWS_ACCESS_KEY_ID": KEYS["key"], "AWS_SECRET_ACCESS_KEY": KEYS["secret"],
        }  # fmt: skip

    def client(self, service: str = "s3", key: str = KEYS["key"], secret: str = KEYS["secret"]) -> Any:
        """A botocore client for setup and checks."""
        return _client(self.endpoint, service, key, secret)

    def bucket(self, name: str) -> str:
        """Create a bucket and return its address."""
        with suppress(self.client().exceptions.BucketAlreadyOwnedByYou):
            self.client().create_bucket(Bucket=name)
        return f"s3://{name}"

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """All objects of a bucket, read with a library other than the one under test; names without ``prefix``."""
        client, found = self.client(), {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for one in page.get("Contents", []):
                name = one["Key"].removeprefix(prefix).lstrip("/")
                found[name] = client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
        return found

    def enforce_rights(self, free_actions: int) -> None:
        """Enforce credentials and policies after ``free_actions`` more requests."""
        url = f"{self.endpoint}/moto-api/reset-auth"
        plain = {"Content-Type": "text/plain"}
        request = urllib.request.Request(url, data=str(free_actions).encode(), headers=plain, method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200


@cache
def _client(endpoint: str, service: str, key: str, secret: str) -> Any:
    # Making one takes as long as hundreds of requests.
    return botocore.session.get_session().create_client(
        service, region_name="us-east-1", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret
    )


@contextmanager
def s3_server(environment: Mapping[str, str] | None = None) -> Iterator[S3]:
    """Run an endpoint while the context is open."""
    port = free_port()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:

            def answers() -> bool:
                assert process.poll() is None, "moto's server ended"
                with suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    return True
                return False

            wait_for(answers, "moto's server")
            yield S3(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(60)
