"""Starts and stops pulls: sources that a segmenter fetches. Both need the admin token."""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.responses import JSONResponse, Response

from services.ingest.refusal import Refused
from streamwave.sources.address import resolve_source
from streamwave.sources.hosts import check_host
from streamwave.streams.keys import hash_key


def is_json(request: Request) -> bool:
    """Whether the content type of the request is JSON."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


async def start(request: Request, found: dict[str, str]) -> Response:
    """Start to receive ``source`` as a session of ``stream``, or of the stream with the key ``key``."""
    state = request.app.state
    state.guard.admin(request)
    if "stream" in found:
        stream = await asyncio.to_thread(state.registry.get, found["stream"])
    else:
        stream = await asyncio.to_thread(state.registry.find, hash_key(found.get("key", "")))
    if stream is None or not stream.enabled:
        raise Refused(403, "the stream is disabled, or no stream has this key; name an enabled stream")
    source = await asyncio.to_thread(resolve_source, found["source"], state.settings.allowed_file_roots)
    await asyncio.to_thread(check_host, source, state.settings.source_hosts)
    publish = await state.sessions.pull(stream, source)
    return JSONResponse({"stream": publish.stream, "broadcast": publish.broadcast, "session": publish.session}, 201)


async def stop(request: Request, found: dict[str, str]) -> Response:
    """End the current session of ``stream``."""
    state = request.app.state
    state.guard.admin(request)
    stream = await asyncio.to_thread(state.registry.get, found["stream"])
    publish = await state.sessions.stop(stream.name)
    if publish is None:
        raise Refused(404, f"nobody publishes {stream.name} at the moment")
    return JSONResponse({"stream": publish.stream, "broadcast": publish.broadcast, "session": publish.session})
