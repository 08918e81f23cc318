"""Access control: nginx-rtmp may call hooks, and bearers of the admin token may administer."""

from __future__ import annotations

import hmac
import ipaddress

from fastapi import Request

from services.ingest.refusal import Refused
from streamwave.config.settings import Settings

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def is_loopback(address: str) -> bool:
    """Whether ``address`` is a loopback address."""
    if address == "localhost":
        return True
    try:
        ip = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


class Guard:
    """Checks requests against the installation's tokens in constant time."""

    def __init__(self, settings: Settings, hook_token: str) -> None:
        self._hook_token = hook_token.encode()
        self._admin_token = settings.admin_token.get_secret_value().encode() if settings.admin_token else None

    def hook(self, request: Request, token: str | None) -> None:
        """Allow a hook call whose URL contains the hook token, or that comes directly from this machine.

        Raises:
            Refused: any other call.
        """
        if token is not None:
            if hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._hook_token):
                return
            raise Refused(403, "the URL of this hook contains a wrong token; restart the RTMP server")
        if not _is_from_here(request):
            raise Refused(403, "hooks must come from this machine, or use the URL with the hook token")

    def status(self, request: Request) -> None:
        """Allow programs on this machine and bearers of the admin token: the status of an installation is not public.

        Raises:
            Refused: any other caller.
        """
        if not _is_from_here(request):
            self.admin(request)

    def admin(self, request: Request) -> None:
        """Allow bearers of the admin token.

        Raises:
            Refused: no admin token is set (503), or the request does not contain it (401).
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
    # A request that a proxy on this machine forwards comes from somewhere else.
    return is_loopback(_peer(request)) and not any(name in request.headers for name in _FORWARDED)


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""
