"""Chunks that could not be published as they were received."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamwave.manifest.lines import ChunkLine
from streamwave.manifest.timeline import Period

#: The numbers of this many chunks with filler are kept; further ones are only counted.
NAMED_CHUNKS = 100


@dataclass
class Losses:
    """How many chunks of a broadcast show filler, or pictures that stand still because others could not be decoded.

    ``black_chunks`` show black in at least one video rendition, ``silent_chunks`` are silent in at least one audio rendition.
    ``filled_numbers`` are the numbers of the first of these, counted in their session.
    """

    black_chunks: int = 0
    silent_chunks: int = 0
    damaged_chunks: int = 0
    filled_numbers: list[int] = field(default_factory=list)

    def count(self, line: ChunkLine, period: Period) -> None:
        """Count the chunk that ``line`` adds to ``period``."""
        kinds = {period.tracks[name].rendition.kind for name in line.filled}
        self.black_chunks += "video" in kinds
        self.silent_chunks += "audio" in kinds
        self.damaged_chunks += line.damaged
        if kinds and len(self.filled_numbers) < NAMED_CHUNKS:
            self.filled_numbers.append(line.number)
