"""How much of the spool one stream may fill with received chunks that wait to be published.

Published chunks are deleted at once, so everything in the spool still has to be published, and nothing may be dropped.
Instead, a stream that reaches its limit is disconnected; everything received until then is published.

The limit is a share (half, by default) of what the other streams leave free. A single stream may fill half of the spool,
two that are behind a third each, three a quarter. Some space is always left for the next stream, and the limit is the same
for all, so the stream that holds most reaches it first. Segmenters need no communication for this. It is the way in which
switches share packet memory (Choudhury, Hahne: Dynamic queue length thresholds for shared-memory packet switches, IEEE/ACM
Transactions on Networking 6(2), 1998).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from streamwave.errors import LimitError
from streamwave.model import StreamLimits
from streamwave.spool.free_space import spare_bytes
from streamwave.spool.journal import MEDIA_SUFFIXES

#: Minimum size that a file counts as: ext4 has one inode for this many bytes, and small files would use up the inodes first.
INODE_BYTES = 16_384
#: A segmenter measures the whole spool after it has written this many bytes, or 1/64 of the quota if that is less.
LOOK_BYTES, LOOK_PART = 16_000_000, 64


def held_by_stream(root: Path) -> dict[str, int]:
    """Bytes that wait to be published in the spool ``root``, by stream; streams without any are left out."""
    found = {}
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and (held := sum(_sizes(Path(entry.path)))):
                    found[entry.name] = held
    except FileNotFoundError:  # nothing was received yet
        pass
    return found


@dataclass(frozen=True)
class Usage:
    """What ``stream`` holds and may hold, in bytes; ``of`` describes what the limit is a share of."""

    stream: str
    held: int
    limit: int
    of: str

    @property
    def full(self) -> bool:
        """Whether no more of the stream may be received."""
        return self.held >= self.limit

    def sentence(self, percent: int) -> str:
        """The message for the publisher; ``percent`` is the share."""
        return (
            f"{self.stream} has {_size(self.held)} of chunks waiting to be published, and may have {percent} % "
            f"(STREAMWAVE_SPOOL_SHARE_PERCENT) of {self.of}; lower its bit rate, make publishing faster, or raise either limit"
        )


def usage(root: Path, stream: str, limits: StreamLimits, held: Mapping[str, int]) -> Usage:
    """How much of the spool ``root`` a stream has filled; ``held`` is the result of ``held_by_stream``."""
    own, others = held.get(stream, 0), sum(held.values()) - held.get(stream, 0)
    free = limits.spool_bytes - others
    of = f"the {_size(max(0, free))} that other streams leave of STREAMWAVE_SPOOL_MAX_GB"
    spare = own + spare_bytes(root)
    if spare < free:
        free, of = spare, f"the {_size(spare)} that the disk of the spool (STREAMWAVE_SPOOL_DIR) has left for it"
    return Usage(stream, own, max(0, free) * limits.share_percent // 100, of)


def check_share(root: Path, stream: str, limits: StreamLimits) -> None:
    """Check that more of ``stream`` may be received.

    Raises:
        LimitError: the stream has used up its share of the spool.
    """
    if not limits.spool_bytes or not root.is_dir():
        return
    found = usage(root, stream, limits, held_by_stream(root))
    if found.full:
        raise LimitError(found.sentence(limits.share_percent))


def check_chunk(size_bytes: int, since_ms: int, limits: StreamLimits) -> None:
    """Check that an open chunk of ``size_bytes``, ``since_ms`` after its keyframe, may grow.

    Raises:
        LimitError: the chunk is too large.
    """
    if limits.chunk_bytes and size_bytes > limits.chunk_bytes:
        raise LimitError(
            f"a chunk has grown beyond {limits.chunk_bytes / 1e6:g} MB (STREAMWAVE_MAX_CHUNK_MB) in the "
            f"{since_ms / 1000:.1f} s since its keyframe; set the encoder's keyframe interval to 2 s, or lower its bit rate"
        )


class Quota:
    """Checks the share of the stream whose ``session`` (a folder three levels below the spool's root) is being received.

    The segmenter's own writes are counted as they happen; the whole spool is measured at the start and from time to time.
    """

    def __init__(self, session: Path, limits: StreamLimits) -> None:
        self._session, self._limits = session, limits
        self._look_bytes = min(LOOK_BYTES, limits.spool_bytes // LOOK_PART)
        self._unseen = self._look_bytes

    def add(self, written_bytes: int) -> None:
        """Count bytes written."""
        self._unseen += written_bytes

    def check(self) -> None:
        """Check that more may be received.

        Raises:
            LimitError: the stream has used up its share of the spool.
        """
        if self._limits.spool_bytes and self._unseen >= self._look_bytes:
            self._unseen = 0
            check_share(self._session.parents[2], self._session.parents[1].name, self._limits)


def _size(count: int) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 10**9 else f"{count / 1e6:.3g} MB"


def _sizes(folder: Path) -> Iterator[int]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _sizes(Path(entry.path))
                elif entry.name.endswith(MEDIA_SUFFIXES):
                    yield max(INODE_BYTES, entry.stat(follow_symlinks=False).st_size)
    except FileNotFoundError:  # published and deleted meanwhile
        return
