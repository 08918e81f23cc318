"""What ``/openapi.json`` says of requests and answers beyond what FastAPI sees by itself: bodies of hooks, and refusals."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_WHY = {
    200: "The session that was ended.",
    201: "The session that was begun.",
    400: "A value is missing or impossible.",
    401: "The admin token is missing or wrong.",
    403: "The caller, the key or the connection is refused.",
    404: "There is no such stream, or nobody publishes it.",
    408: "The body did not arrive in time.",
    409: "The name is taken.",
    413: "The body is too long.",
    415: "The body is neither a form nor JSON.",
    503: "Something that is needed cannot be reached, or administration is off.",
}
_ERROR = {
    "application/json": {
        "schema": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    }
}
#: Any request may be refused so, before it is looked at.
_ALWAYS = (400, 408, 413)
_FIELDS = {
    "type": "object",
    "properties": {
        name: {"type": "string"}
        for name in ("name", "key", "clientid", "call", "addr", "flashver", "publish", "source", "stream")
    },
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For ``responses`` of a route: the statuses that it may answer with, besides its usual one and those that all have."""
    return {
        status: {"description": _WHY[status], **({"content": _ERROR} if status >= 400 else {})}
        for status in sorted({*statuses, *_ALWAYS})
    }


#: For ``openapi_extra`` of the hooks.
HOOK_BODY = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": _FIELDS} for kind in ("application/x-www-form-urlencoded", "application/json")},
    }
}


def install(app: FastAPI) -> None:
    """Have ``app`` describe itself so. No route answers 422, which FastAPI announces for all with parameters."""

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
