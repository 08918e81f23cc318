"""The status that the run of a live broadcast reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Status:
    """Snapshot of a live broadcast.

    Attributes:
        state: "starting", "live", "waiting" (for its publisher to reconnect), "finishing", "finished" or "failed".
        session: ID of the newest session that has been published in part, or None.
        chunks: Number of chunks published so far.
        received_ms: Media received in that session, in milliseconds.
        published_ms: Media of that session that has been published, in milliseconds.
        lag_ms: Media received but not yet published, in milliseconds.
        bitrates_bps: Bit rate of each rendition, by its name.
        latency_ms: Time from the last frame of a chunk to the manifest that lists it: "median", "p95" and "last".
        warnings: Sentences about problems, the newest last.
        advice: Sentences about what the publisher could improve, by code.
        error: Why the run failed, or None.
        updated_unix_ms: When the run wrote this status; 0 if no run has started.
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


def read_status(raw: Mapping[str, Any], *, finished: bool) -> Status:
    """Convert the status in a spool, ``raw``. Fields that are missing or of the wrong type get their defaults.

    ``finished``: whether the spool is marked as finished, which overrides the stored state.
    """

    def number(name: str) -> int:
        found = raw.get(name)
        return int(found) if isinstance(found, int | float) else 0

    def text(name: str) -> str | None:
        return str(raw[name]) if raw.get(name) else None

    def numbers(name: str) -> dict[str, int]:
        found = raw.get(name)
        if not isinstance(found, dict):
            return {}
        return {str(key): int(value) for key, value in found.items() if isinstance(value, int | float)}

    warnings, advice = raw.get("warnings"), raw.get("advice")
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
