"""The progress of a publication, as a plain value."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamwave.manifest.ledger import Ledger

#: The sentence about ``damaged_chunks`` for users.
STANDS_STILL = "{} chunks contain frames that could not be decoded; the last good frame is repeated"


@dataclass(frozen=True)
class Progress:
    """Progress of a publication. ``period_ms`` counts from the start of the last period, ``total_ms`` from the first."""

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
        """The progress recorded in ``ledger``."""
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
        """A sentence for each kind of loss (black, silent or damaged chunks) that has increased since ``before``."""
        told = (
            (self.black_chunks, before.black_chunks, "{} chunks could not be decoded and are shown in black"),
            (self.silent_chunks, before.silent_chunks, "the audio of {} chunks could not be read and is silent"),
            (self.damaged_chunks, before.damaged_chunks, STANDS_STILL),
        )
        return [text.format(count) for count, known, text in told if count > known]
