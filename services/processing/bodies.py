"""Rejects requests that cannot be parsed with INVALID_ARGUMENT.

grpc itself would answer INTERNAL, log a traceback and never release the HTTP/2 stream: after 128 such requests, a
connection is dead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

_MALFORMED = object()


class BodyInterceptor(grpc.ServerInterceptor):
    """Parses the requests of methods that take a single one; streaming requests are left to grpc."""

    def intercept_service(
        self, continuation: Callable[..., Any], handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the method's handler so that it only sees requests that were parsed."""
        handler = continuation(handler_call_details)
        if handler is None or handler.request_streaming or handler.request_deserializer is None:
            return handler
        make = (
            grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        )
        method = handler.unary_stream if handler.response_streaming else handler.unary_unary

        def parse(data: bytes) -> Any:
            try:
                return handler.request_deserializer(data)
            except Exception:  # the type of the error differs between protobuf's implementations
                return _MALFORMED

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            if request is _MALFORMED:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request is not a message of this method's type")
            return method(request, context)

        return make(call, request_deserializer=parse, response_serializer=handler.response_serializer)
