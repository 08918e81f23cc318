"""The hooks that nginx-rtmp calls, with forms or with JSON that has the same fields.

Each hook has two URLs: ``/NAME`` for callers on this machine and ``/hooks/TOKEN/START/NAME``; see streamwave.streams.hooks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.background import BackgroundTask
from starlette.responses import Response

from services.ingest import pull
from services.ingest.body import fields
from services.ingest.call import HookCall, read_call
from services.ingest.document import HOOK_BODY, answers
from services.ingest.log import events
from services.ingest.refusal import Refused
from services.ingest.sessions import ANSWER_S
from streamwave.errors import StreamWaveError

router = APIRouter()
TOKEN = "/hooks/{token}/{instance}"
_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])


def _hook(name: str, *statuses: int) -> Callable[[_Endpoint], _Endpoint]:
    """Route the hook ``name`` at both URLs. The first of ``statuses`` is its normal status."""

    def register(endpoint: _Endpoint) -> _Endpoint:
        responses = answers(*statuses[1:], 401, 403, 404, 415, 503)
        for path in (f"/{name}", f"{TOKEN}/{name}"):
            router.post(path, status_code=statuses[0], responses=responses, openapi_extra=HOOK_BODY)(endpoint)
        return endpoint

    return register


@asynccontextmanager
async def bounded() -> AsyncIterator[None]:
    """Refuse the call if the body of ``with`` takes longer than ``ANSWER_S``."""
    try:
        async with asyncio.timeout(ANSWER_S):
            yield
    except TimeoutError:
        raise Refused(503, "the ingest service is too slow now; connect again") from None


async def _call(request: Request, hook: str, token: str | None, instance: str) -> HookCall:
    request.app.state.guard.hook(request, token)
    found, _is_json = await fields(request)
    return read_call(hook, instance, found)


@_hook("start-stream", 302, 201)
async def start_stream(request: Request, token: str | None = None, instance: str = "") -> Response:
    """A publisher connects. The answer is 302 with the public name in ``Location``, to which nginx-rtmp renames the publish.

    JSON with ``source`` and ``stream`` or ``key`` starts a pull instead and needs the admin token.
    """
    if pull.is_json(request):
        found, _ = await fields(request)
        if "source" in found:
            return await pull.start(request, found)
    call = await _call(request, "start-stream", token, instance)
    name = await request.app.state.sessions.publish(call)
    return Response(status_code=302, headers={"Location": name})


@_hook("stop-stream", 204, 200)
async def stop_stream(request: Request, token: str | None = None, instance: str = "") -> Response:
    """A publisher has disconnected. JSON with ``stream`` ends the session of that stream and needs the admin token."""
    if pull.is_json(request):
        found, _ = await fields(request)
        if "stream" in found:
            return await pull.stop(request, found)
    await request.app.state.sessions.left(await _call(request, "stop-stream", token, instance))
    return Response(status_code=204)


@_hook("play-stream", 204)
async def play_stream(request: Request, token: str | None = None, instance: str = "") -> Response:
    """A client wants to pull a stream, which only segmenters may."""
    async with bounded():
        pulling = await request.app.state.sessions.play(await _call(request, "play-stream", token, instance))
    # Accept the publisher only once nginx-rtmp has this answer, because it lets the segmenter pull only then.
    return Response(status_code=204, background=BackgroundTask(pulling))


@_hook("update-stream", 204)
async def update_stream(request: Request, token: str | None = None, instance: str = "") -> Response:
    """nginx-rtmp asks every few seconds whether a connection may stay. Pullers always may: they end with their publisher."""
    call = await _call(request, "update-stream", token, instance)
    if call.call != "update_play":
        try:
            async with asyncio.timeout(ANSWER_S):
                await request.app.state.sessions.check(call)
        except (SQLAlchemyError, OSError, StreamWaveError, TimeoutError) as error:
            # An error answer would disconnect the publisher because of a fault of this service.
            events.error("publish not checked", kind=type(error).__name__)
    return Response(status_code=204)
