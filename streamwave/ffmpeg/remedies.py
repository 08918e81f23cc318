"""What the user can do about a source that does not work: it depends on whether it is a file, on a web server, or live."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

_WEB = ("http", "https")


def how_to_fix(url: str) -> str:
    """The end of a message about a source that exists but cannot be read."""
    scheme = url.partition(":")[0].lower()
    if scheme == "file":
        return "try to play it first: if that fails, copy it again; if not, convert it to H.264 and AAC"
    if scheme in _WEB:
        return "check that the address leads to the media itself rather than a page, and that a player can play it"
    return "check what the encoder sends: H.264 and AAC always work"


def unreachable(url: str, reason: str) -> str:
    """The end of a message about an address that does not answer, with the ``reason`` in brackets."""
    host = _unknown_host(url)
    if host is not None:
        return f"cannot be read (the host {host} cannot be resolved); check the address, and this machine's DNS"
    remedy = "check the address and that the source is running"
    if url.partition(":")[0].lower() in _WEB:
        remedy = "check in a browser that the address is right and leads to media"
    elif url.lower().startswith("srt:"):
        remedy = "check the address with its port and passphrase, and that the source is running"
    return f"cannot be read ({reason}); {remedy}"


def _unknown_host(url: str) -> str | None:
    """The host of ``url`` if it cannot be resolved, for which libavformat reports only "Input/output error"."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    if not host or any(os.environ.get(name) for name in ("http_proxy", "HTTP_PROXY")):  # a proxy may resolve more names
        return None
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return host
    return None
