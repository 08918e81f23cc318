"""How far a publication is, as a plain value that may be passed around."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamwave.manifest.ledger import Ledger


@dataclass(frozen=True)
class Progress:
    """How far a publication is. ``period_ms`` counts from the start of the last period, ``total_ms`` from the first."""

    chunks: int = 0
    black_chunks: int = 0
    silent_chunks: int = 0
    session: str | None = None
    period_ms: int = 0
    total_ms: int = 0
    ended: bool = False
    bitrates: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, ledger: Ledger) -> Progress:
        """What ``ledger`` says now."""
        if ledger.timeline is None or not ledger.periods:
            return cls()
        period = ledger.timeline.periods[-1]
        return cls(
            chunks=ledger.chunk_count,
            black_chunks=ledger.black_chunks,
            silent_chunks=ledger.silent_chunks,
            session=ledger.periods[-1].session,
            period_ms=int(period.duration * 1000),
            total_ms=int(ledger.timeline.duration * 1000),
            ended=ledger.timeline.ended,
            bitrates={
                name: track.segments[-1].size * 8 * track.timescale // track.segments[-1].duration
                for name, track in period.tracks.items()
                if track.segments
            },
        )
