"""Requests that cannot be parsed are refused as such.

grpc itself would answer INTERNAL, log a traceback, and never let go of the stream: after 128 of them a connection is dead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

_MALFORMED = object()


class BodyInterceptor(grpc.ServerInterceptor):
    """Answers INVALID_ARGUMENT for a method with one request if that is no message of its type."""

    def intercept_service(
        self, continuation: Callable[..., Any], handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of the method, which gets only messages."""
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
            except Exception:  # protobuf's own, which differs between its implementations
                return _MALFORMED

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            if request is _MALFORMED:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request is not a message of this method's type")
            return method(request, context)

        return make(call, request_deserializer=parse, response_serializer=handler.response_serializer)
