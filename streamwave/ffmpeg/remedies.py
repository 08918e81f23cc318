"""What a person can do about a source that does not work, which depends on whether it is a file, at a web server, or live."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

_WEB = ("http", "https")


def mend(url: str) -> str:
    """The end of a sentence on a source that cannot be read although it is there."""
    scheme = url.partition(":")[0].lower()
    if scheme == "file":
        return "try to play it first: if that fails, copy it again; if not, convert it to H.264 and AAC"
    if scheme in _WEB:
        return "check that the address leads to the media itself, and not to a page, and that a player plays it"
    return "check what the encoder sends: H.264 and AAC are understood everywhere"


def unreachable(url: str, reason: str) -> str:
    """The end of a sentence on an address that does not answer, because of ``reason``; with that in brackets."""
    host = _unknown_host(url)
    if host is not None:
        return f"cannot be read (no host is known as {host}); check the address, and this machine's name server"
    remedy = "check the address and that the source is running"
    if url.partition(":")[0].lower() in _WEB:
        remedy = "check in a browser that the address is right and leads to media"
    elif url.lower().startswith("srt:"):
        remedy = "check the address with its port and passphrase, and that the source is running"
    return f"cannot be read ({reason}); {remedy}"


def _unknown_host(url: str) -> str | None:
    """The host of ``url`` if no name server knows it, of which libavformat says no more than "Input/output error"."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    if not host or any(os.environ.get(name) for name in ("http_proxy", "HTTP_PROXY")):  # which may know more names
        return None
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return host
    return None
