"""At which keyframe a chunk ends."""

from __future__ import annotations

from typing import Any

from av import Packet

from streamwave.receive.chunkfile import VideoChunk
from streamwave.receive.pictures import edit_begins_s, is_hidden
from streamwave.spool.options import Options


def is_long_enough(chunk: VideoChunk, at_ms: int, options: Options) -> bool:
    """Whether ``chunk`` may end at a keyframe at ``at_ms``. A live chunk that began without one ends at the first keyframe."""
    if options.live and chunk.key_ms != chunk.start_ms:
        return True
    # Ten percent of tolerance: a keyframe that comes a little early must not double the chunk.
    return (at_ms - chunk.start_ms) * 10 >= options.segment_ms * 9


def ends_at(chunk: VideoChunk, key: Packet[Any], at_ms: int, options: Options) -> bool:
    """Whether ``chunk`` ends before the keyframe ``key`` at ``at_ms``.

    It does if it is long enough, if the keyframe begins an edit, or if the file would hold hidden pictures at the time of
    shown ones.
    """
    if edit_begins_s(key) is not None:
        return True
    hides = chunk.hidden_ms >= at_ms
    return not is_hidden(key) and (hides or is_long_enough(chunk, at_ms, options))
