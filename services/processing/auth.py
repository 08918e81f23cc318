"""Access control: callers must send the token."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable
from typing import Any

import grpc

from streamwave.config.settings import Settings
from streamwave.errors import SettingsError

#: Health checks need no token: probes do not know it, and the answers reveal nothing about streams.
OPEN = "/grpc.health.v1.Health/"


class TokenInterceptor(grpc.ServerInterceptor):
    """Accepts calls with the metadata ``authorization: Bearer TOKEN`` and answers others with UNAUTHENTICATED."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    def intercept_service(
        self, continuation: Callable[..., Any], handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The method's handler, or one that refuses if the token is missing or wrong."""
        if handler_call_details.method.startswith(OPEN) or self._shows_token(handler_call_details):
            return continuation(handler_call_details)

        def refuse(_request: Any, context: grpc.ServicerContext) -> None:
            context.abort(
                grpc.StatusCode.UNAUTHENTICATED,
                "the token is missing or wrong: send the metadata 'authorization: Bearer …' with STREAMWAVE_GRPC_TOKEN, or "
                "with the content of the file grpc-token in STREAMWAVE_STATE_DIR",
            )

        return grpc.unary_unary_rpc_method_handler(refuse)

    def _shows_token(self, details: grpc.HandlerCallDetails) -> bool:
        shown = [value for key, value in details.invocation_metadata if key == "authorization"]
        if len(shown) != 1:
            return False
        value = shown[0].encode() if isinstance(shown[0], str) else shown[0]
        return hmac.compare_digest(value, self._expected)


def is_loopback(host: str) -> bool:
    """Whether ``host`` is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(settings: Settings) -> None:
    """Refuse to listen for other machines unless a token is set: the generated one is known on this machine only.

    Raises:
        SettingsError: STREAMWAVE_GRPC_HOST is not a loopback address and STREAMWAVE_GRPC_TOKEN is not set.
    """
    if settings.grpc_token is None and not is_loopback(settings.grpc_host):
        raise SettingsError(
            f"STREAMWAVE_GRPC_HOST is {settings.grpc_host!r}, which other machines can reach: set "
            "STREAMWAVE_GRPC_TOKEN too, or listen on 127.0.0.1"
        )
