"""Who may call what: the RTMP server its hooks, the bearer of the admin token the administration."""

from __future__ import annotations

import hmac
import ipaddress

from fastapi import Request

from services.ingest.refusal import Refused
from streamwave.config.settings import Settings

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def is_loopback(address: str) -> bool:
    """Whether ``address`` is this machine's own."""
    if address == "localhost":
        return True
    try:
        ip = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


class Guard:
    """Checks requests against the installation's tokens; all comparisons take constant time."""

    def __init__(self, settings: Settings, hook_token: str) -> None:
        self._hook_token = hook_token.encode()
        self._admin_token = settings.admin_token.get_secret_value().encode() if settings.admin_token else None

    def hook(self, request: Request, token: str | None) -> None:
        """Let hooks pass that carry the token of the installation, or come straight from this machine.

        Raises:
            Refused: anybody else.
        """
        if token is not None:
            if hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._hook_token):
                return
            raise Refused(403, "this is not the address of the hooks; start the RTMP server with the present one")
        if not _is_from_here(request):
            raise Refused(403, "hooks are taken from this machine, or at the address that holds the token")

    def status(self, request: Request) -> None:
        """Let this machine's own programs pass, and the bearer of the admin token: the state of an installation is its own.

        Raises:
            Refused: anybody else.
        """
        if not _is_from_here(request):
            self.admin(request)

    def admin(self, request: Request) -> None:
        """Let the bearer of the admin token pass.

        Raises:
            Refused: no token is set (503), or the request does not bear it (401).
        """
        if self._admin_token is None:
            raise Refused(
                503, "administration over HTTP is off; set STREAMWAVE_ADMIN_TOKEN, or use: streamwave streams"
            )
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(shown.strip().encode("utf-8", "surrogatepass"), self._admin_token)
        if scheme.lower() != "bearer" or not right:
            raise Refused(401, "send the header Authorization: Bearer … with the value of STREAMWAVE_ADMIN_TOKEN")


def _is_from_here(request: Request) -> bool:
    # What a proxy on this machine passes on comes from somewhere else.
    return is_loopback(_peer(request)) and not any(name in request.headers for name in _FORWARDED)


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""
