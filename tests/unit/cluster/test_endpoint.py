"""Addresses of schedulers, and when a connection may be plain."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamwave.cluster.endpoint import CERTIFICATE, KEY, Endpoint, endpoint
from streamwave.cluster.keys import create_keys
from streamwave.errors import SettingsError


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    create_keys(tmp_path)
    return tmp_path


NONE = Path("/nowhere")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.8.8.8"])
def test_on_the_loopback_interface_no_key_is_needed(host: str) -> None:
    assert endpoint(f"dask://{host}:9000", NONE, plain=False) == Endpoint(address=f"tcp://{host}:9000")
    assert endpoint(f"tcp://{host}", NONE, plain=False) == Endpoint(address=f"tcp://{host}:8786")


def test_with_a_key_connections_are_encrypted(keys: Path) -> None:
    for address in ("dask://studio", "tls://studio:8786", "dask://studio/"):
        assert endpoint(address, keys, plain=False) == Endpoint(address="tls://studio:8786", key_folder=str(keys))
    assert endpoint("dask://localhost", keys, plain=False).address == "tls://localhost:8786"


def test_a_plain_connection_to_another_machine_has_to_be_requested_twice(keys: Path) -> None:
    for address, plain in (
        ("dask://studio", False),
        ("dask://studio", True),
        ("tcp://0.0.0.0", False),
    ):
        with pytest.raises(SettingsError, match="STREAMWAVE_CLUSTER_PLAIN"):
            endpoint(address, NONE, plain=plain)
    assert endpoint("tcp://studio", NONE, plain=True) == Endpoint(address="tcp://studio:8786")
    with pytest.raises(SettingsError, match="unencrypted"):
        endpoint("tcp://studio", keys, plain=False)


def test_tls_needs_a_key() -> None:
    with pytest.raises(SettingsError, match="streamwave cluster keys"):
        endpoint("tls://studio", NONE, plain=True)


@pytest.mark.parametrize("name", [CERTIFICATE, KEY])
def test_a_key_that_cannot_be_used_is_refused(keys: Path, name: str) -> None:
    other = keys / "other"
    create_keys(other)
    for content in (b"", b"damaged", (other / name).read_bytes()):
        (keys / name).write_bytes(content)
        with pytest.raises(SettingsError, match=f"{CERTIFICATE} and {KEY} in {keys} cannot be used"):
            endpoint("dask://studio", keys, plain=False)


@pytest.mark.parametrize(
    "address", ["studio:8786", "http://studio", "dask://", "dask://studio:x", "tls://me@studio", "dask://a/b"]
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="is not the address of a Dask scheduler"):
        endpoint(address, NONE, plain=True)
