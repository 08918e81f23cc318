"""What the run that publishes a live broadcast says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Status:
    """A live broadcast at one moment.

    Attributes:
        state: "starting", "live", "waiting" (for its publisher to reconnect), "finishing", "finished" or "failed".
        session: Number of the newest session of which something was published, or None.
        chunks: Chunks published so far.
        received_ms: What was received of that session, in milliseconds.
        published_ms: What is published of it.
        lag_ms: What was received and is not published yet.
        bitrates_bps: Bits per second of each rendition, by its name.
        latency_ms: From the last frame of a chunk to the manifest that names it: "median", "p95" and "last".
        warnings: Sentences on what went wrong, the newest last.
        advice: Sentences on what the publisher could do better, by code.
        error: Why the run failed, or None.
        updated_unix_ms: When the run said so; 0 if no run has begun.
    """

    state: str = "starting"
    session: str | None = None
    chunks: int = 0
    received_ms: int = 0
    published_ms: int = 0
    lag_ms: int = 0
    bitrates_bps: Mapping[str, int] = field(default_factory=dict)
    latency_ms: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    advice: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    updated_unix_ms: int = 0


def read_status(told: Mapping[str, Any], *, finished: bool) -> Status:
    """The status that a spool holds as ``told``; what is missing, or of another type, is as in one that says nothing.

    ``finished``: the spool says that all is published, which it knows better.
    """

    def number(name: str) -> int:
        found = told.get(name)
        return int(found) if isinstance(found, int | float) else 0

    def text(name: str) -> str | None:
        return str(told[name]) if told.get(name) else None

    def numbers(name: str) -> dict[str, int]:
        found = told.get(name)
        if not isinstance(found, dict):
            return {}
        return {str(key): int(value) for key, value in found.items() if isinstance(value, int | float)}

    warnings, advice = told.get("warnings"), told.get("advice")
    return Status(
        state="finished" if finished else text("state") or "starting",
        session=text("session"),
        chunks=number("chunks"),
        received_ms=number("received_ms"),
        published_ms=number("published_ms"),
        lag_ms=number("lag_ms"),
        bitrates_bps=numbers("bitrates"),
        latency_ms=numbers("latency_ms"),
        warnings=tuple(map(str, warnings)) if isinstance(warnings, list) else (),
        advice={
            str(one["code"]): str(one["text"])
            for one in (advice if isinstance(advice, list) else [])
            if isinstance(one, dict) and {"code", "text"} <= one.keys()
        },
        error=text("error"),
        updated_unix_ms=number("updated_unix_ms"),
    )
