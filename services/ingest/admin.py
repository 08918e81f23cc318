"""Manages streams over HTTP with the admin token. Only the answers to POST contain keys, each key once."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict

from services.ingest.document import answers
from streamwave.streams.registry import Registry, Stream


def _allowed(request: Request) -> Registry:
    request.app.state.guard.admin(request)
    registry: Registry = request.app.state.registry
    return registry


#: FastAPI runs plain (not async) functions in threads, so these may wait for the database.
router = APIRouter(prefix="/streams", responses=answers(401, 503))
Allowed = Depends(_allowed)


class NewStream(BaseModel):
    """A stream to add."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    title: str = ""


class Change(BaseModel):
    """What to change of a stream; omitted fields stay as they are."""

    model_config = ConfigDict(extra="forbid", strict=True)

    enabled: bool | None = None
    title: str | None = None


@router.post("", status_code=201, responses=answers(409))
def add(new: NewStream, response: Response, registry: Registry = Allowed) -> dict[str, Any]:
    """Add a stream; the answer contains its key."""
    stream, key = registry.add(new.name, new.title)
    response.headers["Cache-Control"] = "no-store"
    return {**stream.model_dump(), "key": key}


@router.get("")
def list_all(registry: Registry = Allowed) -> list[Stream]:
    """All streams, sorted by name."""
    return registry.all()


@router.get("/{name}", responses=answers(404))
def show(name: str, registry: Registry = Allowed) -> Stream:
    """One stream."""
    return registry.get(name)


@router.patch("/{name}", responses=answers(404))
def change(name: str, wanted: Change, registry: Registry = Allowed) -> Stream:
    """Enable or disable a stream, or change its title."""
    return registry.change(name, enabled=wanted.enabled, title=wanted.title)


@router.post("/{name}/rotate-key", responses=answers(404))
def rotate_key(name: str, response: Response, registry: Registry = Allowed) -> dict[str, str]:
    """Create a new key; a publisher that uses the old key is disconnected within seconds."""
    response.headers["Cache-Control"] = "no-store"
    return {"name": name, "key": registry.rotate_key(name)}


@router.delete("/{name}", status_code=204, responses=answers(404))
def remove(name: str, registry: Registry = Allowed) -> None:
    """Remove a stream and its key; recordings stay."""
    registry.remove(name)
