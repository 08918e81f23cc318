"""The errors of this service, and the only place that maps errors to gRPC statuses.

::

    Refusal                a call that this service refuses
    ├── BadField           INVALID_ARGUMENT, with google.rpc.BadRequest
    ├── NotFound           NOT_FOUND, with google.rpc.ResourceInfo
    ├── NotReady           FAILED_PRECONDITION, with google.rpc.PreconditionFailure
    └── TooMany            RESOURCE_EXHAUSTED, with google.rpc.QuotaFailure

Errors of the library: UsageError becomes INVALID_ARGUMENT; OutputError and SpoolError become FAILED_PRECONDITION. Anything
else becomes INTERNAL without details for the caller; the log shows where it was raised.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from streamwave.errors import OutputError, SpoolError, StreamWaveError, UsageError

log = logging.getLogger("streamwave.processing")


class Refusal(StreamWaveError):
    """A refused call; ``about`` names the field, stream or condition that is at fault."""

    def __init__(self, text: str, about: str = "") -> None:
        super().__init__(text, about)
        self.text, self.about = text, about

    def __str__(self) -> str:
        return self.text


class BadField(Refusal):
    """A field of the request has a value that is not allowed."""


class NotFound(Refusal):
    """There is no such stream, broadcast or session."""


class NotReady(Refusal):
    """Something must be repaired, or must end, before this call can succeed."""


class TooMany(Refusal):
    """A limit of the service is reached; try again later."""


def to_status(error: Exception) -> status_pb2.Status:
    """The status that reports ``error`` to the caller."""
    text, about = str(error), getattr(error, "about", "")
    detail: Any
    if isinstance(error, NotFound):
        code = code_pb2.NOT_FOUND
        detail = error_details_pb2.ResourceInfo(resource_type="streamwave.v1", resource_name=about, description=text)
    elif isinstance(error, TooMany):
        code = code_pb2.RESOURCE_EXHAUSTED
        violated = error_details_pb2.QuotaFailure.Violation(subject=about, description=text)
        detail = error_details_pb2.QuotaFailure(violations=[violated])
    elif isinstance(error, NotReady | OutputError | SpoolError):
        code = code_pb2.FAILED_PRECONDITION
        kind = about or {"OutputError": "storage", "SpoolError": "spool"}.get(type(error).__name__, "storage")
        broken = error_details_pb2.PreconditionFailure.Violation(type=kind.upper(), subject=kind, description=text)
        detail = error_details_pb2.PreconditionFailure(violations=[broken])
    elif isinstance(error, BadField | UsageError):
        code = code_pb2.INVALID_ARGUMENT
        wrong = error_details_pb2.BadRequest.FieldViolation(field=about or "source", description=text)
        detail = error_details_pb2.BadRequest(field_violations=[wrong])
    else:
        return status_pb2.Status(
            code=code_pb2.INTERNAL, message="internal error; see the log of the processing service"
        )
    packed = any_pb2.Any()
    packed.Pack(detail)
    return status_pb2.Status(code=code, message=text, details=[packed])


def refuse(context: grpc.ServicerContext, error: Exception) -> None:
    """End the call with the status for ``error``. Always raises."""
    status = to_status(error)
    if status.code == code_pb2.INTERNAL:
        log.error("unexpected error in a gRPC call", exc_info=error)
    context.abort_with_status(rpc_status.to_status(status))


def answers(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a unary method: errors that it raises become gRPC statuses."""

    @functools.wraps(method)
    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except Exception as error:
            return refuse(context, error)

    return call


def answers_stream(method: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Decorate a streaming method: errors that it raises become gRPC statuses."""

    @functools.wraps(method)
    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from method(self, request, context)
        except Exception as error:
            refuse(context, error)

    return call
