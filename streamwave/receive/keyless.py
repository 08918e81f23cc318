"""Where a live source that sends no keyframes is cut, and when it is given up.

A chunk that does not begin at a keyframe gets a copy of all packets since the last keyframe, as its lead.
docs/decisions/0020-what-one-stream-may-use.md has the figures.
"""

from __future__ import annotations

from fractions import Fraction

from streamwave.errors import SourceError
from streamwave.receive.chunkfile import VideoChunk

#: A live source without a keyframe for this long is cut between keyframes. A piece is at least this share as long as what is
#: copied into it, so that all pieces together hold, and cost to decode, at most three times what was received.
KEYLESS_MS, PIECE_SHARE = 12_000, Fraction(1, 2)
#: The source is given up after this long. By then a piece is a third as long, and delays viewers by as much.
MOST_KEYLESS_MS = 60_000


def ends_without_key(chunk: VideoChunk, at_ms: int, segment_ms: int) -> bool:
    """Whether ``chunk`` of a live source ends before a picture at ``at_ms`` that is not a keyframe, for lack of keyframes.

    Raises:
        SourceError: no keyframe has come for too long.
    """
    keyless_ms = at_ms - chunk.key_ms
    if keyless_ms < KEYLESS_MS or chunk.newest_ms is None or at_ms <= chunk.newest_ms:
        return False
    if keyless_ms > MOST_KEYLESS_MS:
        raise SourceError(
            f"no keyframe has come for {MOST_KEYLESS_MS // 1000} s; set the encoder's keyframe interval to 2 s "
            "(in OBS: Settings, Output, Keyframe Interval)"
        )
    before_ms = chunk.start_ms - chunk.key_ms
    return at_ms - chunk.start_ms >= max(Fraction(4 * segment_ms), before_ms * PIECE_SHARE)
