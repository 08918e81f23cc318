"""Completes ``/openapi.json``: FastAPI cannot derive the bodies of hooks and the error answers from the code."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_WHY = {
    200: "The session that has ended.",
    201: "The session that has begun.",
    400: "A value is missing or invalid.",
    401: "The admin token is missing or wrong.",
    403: "The caller, the key or the connection is refused.",
    404: "There is no such stream, or nobody publishes it.",
    408: "The body did not arrive in time.",
    409: "The name is taken.",
    413: "The body is too long.",
    415: "The body is neither a form nor JSON.",
    503: "A required service or resource is unavailable, or administration is off.",
}
_ERROR = {
    "application/json": {
        "schema": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    }
}
#: Statuses with which any request can be refused before its route is called.
_ALWAYS = (400, 408, 413)
_FIELDS = {
    "type": "object",
    "properties": {
        name: {"type": "string"}
        for name in ("name", "key", "clientid", "call", "addr", "flashver", "publish", "source", "stream")
    },
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route: ``statuses`` and those of all routes, without the route's normal status."""
    return {
        status: {"description": _WHY[status], **({"content": _ERROR} if status >= 400 else {})}
        for status in sorted({*statuses, *_ALWAYS})
    }


#: The ``openapi_extra`` of the hooks.
HOOK_BODY = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": _FIELDS} for kind in ("application/x-www-form-urlencoded", "application/json")},
    }
}


def install(app: FastAPI) -> None:
    """Make ``app`` serve the completed description, without status 422: FastAPI lists it, but no route answers with it."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, routes=app.routes)
            for path in document["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
            for unused in ("HTTPValidationError", "ValidationError"):
                document.get("components", {}).get("schemas", {}).pop(unused, None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]
