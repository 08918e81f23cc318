"""How far a publication is, as a plain value that may be passed around."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamwave.manifest.ledger import Ledger

#: What people are told of ``damaged_chunks``.
STANDS_STILL = "{} chunks hold pictures that could not be decoded; the one before them stands still"


@dataclass(frozen=True)
class Progress:
    """How far a publication is. ``period_ms`` counts from the start of the last period, ``total_ms`` from the first."""

    chunks: int = 0
    black_chunks: int = 0
    silent_chunks: int = 0
    damaged_chunks: int = 0
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
            black_chunks=ledger.losses.black_chunks,
            silent_chunks=ledger.losses.silent_chunks,
            damaged_chunks=ledger.losses.damaged_chunks,
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

    def news(self, before: Progress) -> list[str]:
        """Sentences on what could not be published as it was received, where there is more of it than ``before``."""
        told = (
            (self.black_chunks, before.black_chunks, "{} chunks could not be decoded and are shown in black"),
            (self.silent_chunks, before.silent_chunks, "the sound of {} chunks could not be read and is silent"),
            (self.damaged_chunks, before.damaged_chunks, STANDS_STILL),
        )
        return [text.format(count) for count, known, text in told if count > known]
