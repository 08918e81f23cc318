"""Refuse web requests that are not meant for this server: for host names not its own, or from pages of other sites.

Any web page that a browser on this machine shows can send requests to 127.0.0.1, and can read the responses if its own host
name resolves to that address (DNS rebinding). The headers Host and Origin reveal both, and no page can forge them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_WILDCARDS = ("0.0.0.0", "::", "")


@dataclass(frozen=True)
class OwnNames:
    """The host names of a server that listens on ``listening``; ``allowed`` has additional names, in lower case.

    IP addresses are safe, because no attacker can make one resolve elsewhere: a server on all addresses accepts any of them.
    """

    listening: str
    allowed: Collection[str] = ()

    def __contains__(self, authority: str) -> bool:
        """Whether ``authority`` (RFC 3986, 3.2: a host with an optional port) names this server."""
        host = host_of(authority)
        if host is None:
            return False
        if host == "localhost" or host in self.allowed or host == self.listening.lower().strip("[]"):
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return address.is_loopback or self.listening in _WILDCARDS


def host_of(authority: str) -> str | None:
    """The host of ``HOST``, ``HOST:PORT`` or ``[IPv6]:PORT`` in lower case; None if it is none of these."""
    try:
        parts = urlsplit(f"//{authority}")
        parts.port  # noqa: B018  raises if the port is not a number
    except ValueError:
        return None
    if parts.netloc != authority or "@" in authority or not parts.hostname:
        return None
    return parts.hostname


def refusal(headers: Mapping[str, str], method: str, names: OwnNames) -> str | None:
    """The reason to refuse a request with these ``headers`` (names in lower case), or None. WebSockets start with GET.

    Programs send neither ``Origin`` nor ``Sec-Fetch-Site``. Browsers send ``Origin`` with every request that can change
    something, and ``Sec-Fetch-Site`` (Fetch Metadata Request Headers, W3C) with every request to this machine.
    """
    host = headers.get("host", "")
    if host not in names:
        return "the host name is not one of this server's; STREAMWAVE_ALLOWED_HOSTS adds names"
    origin = headers.get("origin")
    if origin is not None and not _is_own(origin, host, names):
        return "web pages of other origins may not call this server; STREAMWAVE_ALLOWED_HOSTS allows a proxy's name"
    foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site") and origin is None
    followed_link = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
    if foreign and not (followed_link and headers.get("sec-fetch-dest") == "document"):
        return "web pages of other origins may not use this server's responses"
    return None


def _is_own(origin: str, host: str, names: OwnNames) -> bool:
    scheme, _, authority = origin.partition("://")
    if scheme not in ("http", "https"):  # also excludes "null", which sandboxed pages send
        return False
    return authority.lower() == host.lower() or host_of(authority) in names.allowed


class OwnSite:
    """ASGI middleware that answers requests for which ``refusal`` gives a reason with 403, before the application runs."""

    def __init__(self, app: App, names: OwnNames) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        headers = dict(pairs)
        twice = sum(name in ("host", "origin") for name, _ in pairs) > ("host" in headers) + ("origin" in headers)
        why = refusal({} if twice else headers, scope.get("method", "GET"), self.names)
        if why is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # before acceptance: answered with 403
        else:
            body = f'{{"error": "{why}"}}'.encode()
            named = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": named})
            await send({"type": "http.response.body", "body": body})
