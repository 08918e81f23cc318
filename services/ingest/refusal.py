"""Refusals, and the only place that maps errors to HTTP answers: a status and one line that says what is wrong."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from services.ingest.log import events
from streamwave.errors import LimitError, StreamWaveError, UsageError
from streamwave.spool.broadcast import StreamLiveError
from streamwave.streams.registry import StreamExistsError, UnknownStreamError


class Refused(Exception):
    """A refused request: ``status`` is the HTTP status, ``sentence`` says why."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(status, sentence)
        self.status, self.sentence = status, sentence


def answer(status: int, sentence: str) -> Response:
    """An error answer in JSON; nginx-rtmp reads only the status."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error": sentence}, status, headers)


def status_of(error: StreamWaveError) -> int:
    """The HTTP status for an error of the library."""
    if isinstance(error, UnknownStreamError):
        return 404
    if isinstance(error, StreamExistsError):
        return 409
    if isinstance(error, StreamLiveError):
        return 403
    if isinstance(error, LimitError):
        return 429
    return 400 if isinstance(error, UsageError) else 503


def install(app: FastAPI) -> None:
    """Register the error handlers of ``app``."""

    @app.exception_handler(Refused)
    async def _refused(_request: Request, error: Refused) -> Response:
        return answer(error.status, error.sentence)

    @app.exception_handler(StreamWaveError)
    async def _ours(_request: Request, error: StreamWaveError) -> Response:
        return answer(status_of(error), str(error))

    @app.exception_handler(SQLAlchemyError)
    async def _database(_request: Request, error: SQLAlchemyError) -> Response:
        # The text of a database error can contain statement parameters, so log only its type.
        events.error("database failed", kind=type(getattr(error, "orig", None) or error).__name__)
        return answer(503, "the database cannot be reached; see STREAMWAVE_DATABASE_URL and try again")

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> Response:
        # Do not repeat the value: it may be a key.
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return answer(400, f"{where[:80] or 'the body'}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> Response:
        response = answer(error.status_code, str(error.detail))
        response.headers.update(error.headers or {})
        return response
