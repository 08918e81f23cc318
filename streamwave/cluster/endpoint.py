"""The address of a scheduler, and how connections to it are protected (docs/decisions/0031-one-stream-on-many-machines.md)."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from streamwave.config.settings import Settings
from streamwave.errors import SettingsError
from streamwave.model import Frozen

#: Files in the folder of keys: one certificate, which is its own authority, and its private key.
CERTIFICATE, KEY = "cluster.pem", "cluster.key"
#: The scheduler's usual port.
PORT = 8786


class Endpoint(Frozen):
    """A scheduler: its address for Dask (``tls://HOST:PORT`` or ``tcp://HOST:PORT``), and for ``tls`` the folder of the key."""

    address: str
    key_folder: str | None = None

    @property
    def host(self) -> str:
        """The scheduler's host."""
        return urlsplit(self.address).hostname or ""

    @property
    def port(self) -> int:
        """The scheduler's port."""
        return urlsplit(self.address).port or PORT


def endpoint_of(settings: Settings) -> Endpoint | None:
    """The scheduler whose workers encode; None if this machine does. Raises what ``endpoint`` raises."""
    if not settings.task_runner:
        return None
    return endpoint(settings.task_runner, settings.cluster_keys, plain=settings.cluster_plain)


def endpoint(address: str, keys: Path, *, plain: bool) -> Endpoint:
    """The scheduler at ``address``: ``dask://HOST[:PORT]``, ``tls://…`` or ``tcp://…``.

    ``dask`` means ``tls`` if the folder ``keys`` has a key, and otherwise ``tcp``, which is accepted on the loopback interface.
    Elsewhere it has to be requested twice, by ``tcp://`` in the address and by the setting ``plain``, because everyone who can
    connect to a scheduler or a worker can run programs there.

    Raises:
        SettingsError: the address is invalid, there is no usable key for ``tls``, or plain connections are not allowed.
    """
    scheme, host, port = parse(address)
    shown = f"[{host}]" if ":" in host else host
    has_key = (keys / KEY).is_file() and (keys / CERTIFICATE).is_file()
    if scheme == "tls" or (scheme == "dask" and has_key):
        if not has_key:
            raise SettingsError(
                f"{keys} has no {CERTIFICATE} and {KEY} for {address}; create them with `streamwave cluster keys`, or copy "
                "them from the machine where they were created"
            )
        _check_key(keys)
        return Endpoint(address=f"tls://{shown}:{port}", key_folder=str(keys))
    if not is_loopback(host) and not (scheme == "tcp" and plain):
        raise SettingsError(
            f"{address} would be an unencrypted connection, through which anyone in the network can run programs: create "
            f"keys with `streamwave cluster keys` and copy {keys} to every machine. If the network has no other users, "
            f"write tcp://{shown}:{port} and set STREAMWAVE_CLUSTER_PLAIN=true"
        )
    return Endpoint(address=f"tcp://{shown}:{port}")


def parse(address: str) -> tuple[str, str, int]:
    """Scheme, host and port of a scheduler's address.

    Raises:
        SettingsError: it is none.
    """
    try:
        parts = urlsplit(address)
        scheme, host, port = parts.scheme, parts.hostname, parts.port or PORT
    except ValueError:
        scheme, host, port = "", None, 0
    if scheme not in ("dask", "tls", "tcp") or not host or parts.path.strip("/") or parts.query or parts.username:
        raise SettingsError(f"{address!r} is not the address of a Dask scheduler; write dask://HOST:{PORT}")
    return scheme, host, port


def _check_key(keys: Path) -> None:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(keys / CERTIFICATE)
        context.load_cert_chain(keys / CERTIFICATE, keys / KEY)
    except OSError as error:  # SSLError is one
        raise SettingsError(
            f"{CERTIFICATE} and {KEY} in {keys} cannot be used ({error.strerror or error}); copy both again from the machine "
            "where they were created, readable by this user"
        ) from None


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine's loopback interface."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
