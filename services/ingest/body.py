"""Reads request bodies, forms or JSON, with limits on size and time; a field may occur only once."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.ingest.refusal import Refused, answer

#: nginx-rtmp sends few fields of about 256 characters each.
MAX_BYTES = 64 * 1024
MAX_FIELDS = 100
#: A body must arrive within this time.
TIMEOUT_S = 5.0


class Limits:
    """ASGI middleware that reads the body before the application runs, and refuses large and slow bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(TIMEOUT_S):
                body = await self._read(scope, receive)
        except TimeoutError:
            await answer(408, f"the body did not arrive within {TIMEOUT_S:g} s")(scope, receive, send)
            return
        except ClientDisconnect:
            return
        if body is None:
            await answer(413, f"the body is longer than {MAX_BYTES} bytes")(scope, receive, send)
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        await self.app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        if not stated.isdigit() or int(stated) > MAX_BYTES:
            return None
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body += message.get("body", b"")
            if len(body) > MAX_BYTES:
                return None
            if not message.get("more_body", False):
                return body


async def fields(request: Request) -> tuple[dict[str, str], bool]:
    """The fields of a form or of a JSON object, all as text, and whether it was JSON.

    nginx-rtmp appends to its own fields whatever a publisher writes after the ``?`` of a key, so a repeated field is an
    attempt to impersonate somebody.

    Raises:
        Refused: the content type is unsupported, the body does not match it, or a field occurs twice.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if kind == "application/x-www-form-urlencoded":
        return _once(_form(body)), False
    if kind == "application/json":
        return _json(body), True
    raise Refused(415, "send application/x-www-form-urlencoded or application/json")


def _form(body: bytes) -> list[tuple[str, str]]:
    try:
        # Bytes that are not UTF-8 become surrogates: such a value matches no key, and is not stored.
        return parse_qsl(
            body.decode("utf-8", "surrogateescape"),
            keep_blank_values=True,
            max_num_fields=MAX_FIELDS,
            errors="surrogateescape",
        )
    except ValueError:
        raise Refused(400, f"the form has more than {MAX_FIELDS} fields") from None


def _json(body: bytes) -> dict[str, str]:
    try:
        found = json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(found, dict):
        raise Refused(400, "the body is not a JSON object")
    texts = {}
    for name, value in found.items():
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise Refused(400, "every field must be a string or an integer")
        texts[name] = str(value)
    return texts


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused(400, "a field occurs twice")
    return found
