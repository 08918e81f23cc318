"""``GET /status``: the health of the services, and which streams are live or not yet published. All checks run in parallel."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from fastapi import APIRouter, Request

from services.ingest.document import answers
from services.ingest.encoding import installation
from services.ingest.processing import Processing
from services.ingest.sessions import Sessions
from streamwave.config.settings import Settings
from streamwave.model import State
from streamwave.spool.broadcast import BroadcastSpool, broadcasts
from streamwave.spool.journal import end_of
from streamwave.spool.quota import held_by_stream
from streamwave.streams.hooks import reachable
from streamwave.streams.publishes import Publish
from streamwave.util.version import VERSION

#: Time limit of each check, and so of the answer.
TIMEOUT_S = 1.0
#: Less free space than this is reported as degraded.
LOW_BYTES = 10**9

router = APIRouter(responses=answers())


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Whether this process answers; nothing else is checked."""
    return {"status": "ok"}


@router.get("/status")
async def status(request: Request) -> dict[str, Any]:
    """``status`` is "ok", or "degraded" if any part is; each of ``parts`` has a status of its own, and an error if degraded.

    ``streams`` are those that are live. ``unfinished`` are broadcasts without a publisher that are not complete at all
    outputs, because the publisher may reconnect or an output is behind; ``receiving_ended`` is the reason if its publisher was
    cut off. ``encoding`` is the demand for encoding of all streams, and the slots for it. ``held_bytes`` of the part ``spool``
    are the bytes not yet published, by stream.

    For programs on this machine and bearers of the admin token.
    """
    state = request.app.state
    state.guard.status(request)
    return await collect(state.settings, state.processing, state.sessions, state.http)


def open_client() -> httpx.AsyncClient:
    """A client for the checks. Each check opens a connection of its own, so that none fails because an old one was closed."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(timeout=TIMEOUT_S, limits=limits, trust_env=False)


async def collect(
    settings: Settings, processing: Processing, sessions: Sessions, client: httpx.AsyncClient
) -> dict[str, Any]:
    """The answer to ``/status``."""
    checks: dict[str, Awaitable[str | dict[str, Any] | None]] = {
        "rtmp": _rtmp(settings),
        "media": _answers(client, f"http://{reachable(settings.media_host)}:{settings.media_port}/time"),
        "processing": processing.healthy(TIMEOUT_S * 0.9),
        "prefect": _answers(client, f"{settings.prefect_url.rstrip('/')}/health"),
        "spool": asyncio.to_thread(_spool, settings.spool_dir),
    }
    local = next((target.url for target in settings.outputs if target.is_local), None)
    if local is not None:
        checks["output"] = asyncio.to_thread(_space, Path(local))
    live, left, *results = await asyncio.gather(
        _bounded(_live(settings, sessions)),
        _bounded(asyncio.to_thread(_unfinished, settings.spool_dir)),
        *map(_bounded, checks.values()),
    )
    parts: dict[str, dict[str, Any]] = {"ingest": {"status": "ok", "version": VERSION}}
    streams = live if isinstance(live, list) else []
    known = {(row["stream"], row["broadcast"]) for row in streams}
    unfinished = (
        [row for row in left if (row["stream"], row["broadcast"]) not in known] if isinstance(left, list) else []
    )
    for trouble in (live, left):
        if not isinstance(trouble, list):
            parts["ingest"] |= {"status": "degraded", "error": trouble}
    for name, found in zip(checks, results, strict=True):
        parts[name] = found if isinstance(found, dict) else _part(found)
    if refused := _refused([*streams, *unfinished]):
        parts["output"] = {**parts.get("output", {}), "status": "degraded", "error": refused}
    well = all(part["status"] == "ok" for part in parts.values())
    encoding = installation([*streams, *unfinished], settings)
    return {
        "status": "ok" if well else "degraded", "parts": parts, "encoding": encoding, "streams": streams,
        "unfinished": unfinished,
    }  # fmt: skip


async def _bounded(check: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await check
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:g} s"
    except Exception as error:
        # One failing check must not hide the results of the others.
        return f"the check failed ({type(error).__name__})"


def _part(error: str | None) -> dict[str, Any]:
    return {"status": "ok"} if error is None else {"status": "degraded", "error": error}


async def _rtmp(settings: Settings) -> str | None:
    """What is wrong with the gate that publishers connect to, or with nginx-rtmp behind it; None if both answer."""
    for host, port in ((reachable(settings.rtmp_host), settings.rtmp_port), ("127.0.0.1", settings.rtmp_internal_port)):
        try:
            _reader, writer = await asyncio.open_connection(host.strip("[]"), port)
        except OSError:
            return f"no answer at rtmp://{host}:{port}"
        writer.close()
    return None


async def _answers(client: httpx.AsyncClient, url: str) -> str | None:
    try:
        response = await client.get(url)
    except httpx.HTTPError:
        return f"no answer at {url}"
    return None if response.status_code == 200 else f"{url} answers {response.status_code}"


def _space(folder: Path) -> dict[str, Any]:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < LOW_BYTES:
        return {
            "status": "degraded",
            "free_bytes": free,
            "error": f"less than {LOW_BYTES // 10**6} MB free on {folder}",
        }
    return {"status": "ok", "free_bytes": free}


def _spool(folder: Path) -> dict[str, Any]:
    return {**_space(folder), "held_bytes": held_by_stream(folder)}


async def _live(settings: Settings, sessions: Sessions) -> list[dict[str, Any]]:
    publishes = await sessions.live()
    return [await asyncio.to_thread(_stream, settings.spool_dir, publish) for publish in publishes]


def _unfinished(root: Path) -> list[dict[str, Any]]:
    return [_unfinished_row(spool) for spool in broadcasts(root) if not spool.finished]


def _unfinished_row(spool: BroadcastSpool) -> dict[str, Any]:
    """An unfinished broadcast, with the error that keeps it unfinished, if there is one, and the remedy."""
    row = _broadcast(spool)
    cause = str(row["run"].get("error") or _refused([row]))
    if cause:
        path = f"{spool.stream}/{spool.broadcast}"
        row |= {
            "cause": cause,
            "remedy": f"repair the output, or delete the broadcast: streamwave broadcasts rm {path}",
        }
    with suppress(OSError):
        end = end_of(spool.sessions()[-1]) if spool.sessions() else None
        if end is not None and end.error is not None:
            row["receiving_ended"] = end.error
    return row


def _broadcast(spool: BroadcastSpool) -> dict[str, Any]:
    run = spool.status()
    return {
        "stream": spool.stream,
        "broadcast": spool.broadcast,
        "state": run.get("state", State.STARTING.in_status),
        "run": run,
    }


def _refused(rows: Sequence[dict[str, Any]]) -> str:
    """The errors of the outputs of these broadcasts, without duplicates."""
    outputs = [one for row in rows for one in row["run"].get("outputs") or [] if isinstance(one, dict)]
    return "; ".join(dict.fromkeys(str(one["error"]) for one in outputs if one.get("error")))


def _stream(spool: Path, publish: Publish) -> dict[str, Any]:
    return {
        **_broadcast(BroadcastSpool(spool / publish.stream / publish.broadcast)),
        "session": publish.session,
        "started_unix_ms": publish.started_unix_ms,
    }
