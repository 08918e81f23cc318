"""How much of the spool one stream may fill: bytes of received chunks that wait to be published.

Chunks that are published leave the spool at once, so what lies in it still has to be published and none of it may be
dropped. A stream that reaches its limit is not received any further instead, and all that was received is published.

The limit is a share (half, by default) of what the other streams leave free. A stream alone may fill half of the spool, two
that are both behind a third each, three a quarter: some is always left for the next one, and the limit is the same for
all, so the fullest stream reaches it first. Segmenters need not know of each other for that. Switches share
their packet memory in this way (Choudhury, Hahne: Dynamic queue length thresholds for shared-memory packet switches,
IEEE/ACM Transactions on Networking 6(2), 1998).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from streamwave.config.limits import StreamLimits
from streamwave.errors import LimitError
from streamwave.spool.free_space import spare_bytes
from streamwave.spool.journal import MEDIA_SUFFIXES

#: A file counts as at least this much: ext4 makes one inode for so many bytes, and small files would use up those first.
INODE_BYTES = 16_384
#: A segmenter looks at the whole spool each time that it has written this much, or this part of the spool.
LOOK_BYTES, LOOK_PART = 16_000_000, 64


def held_by_stream(root: Path) -> dict[str, int]:
    """Bytes that wait to be published in the spool ``root``, by stream; without those of which nothing waits."""
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
    """What ``stream`` holds, and may hold, in bytes; ``of`` names what its limit is a share of."""

    stream: str
    held: int
    limit: int
    of: str

    @property
    def full(self) -> bool:
        """Whether no more of the stream may be received."""
        return self.held >= self.limit

    def sentence(self, percent: int) -> str:
        """What to tell its publisher."""
        return (
            f"{self.stream} holds {_size(self.held)} of chunks that wait to be published, and may hold {percent} % "
            f"(STREAMWAVE_SPOOL_SHARE_PERCENT) of {self.of}; lower its bit rate, publish faster, or raise one of the two"
        )


def usage(root: Path, stream: str, limits: StreamLimits, held: Mapping[str, int]) -> Usage:
    """How much of the spool ``root`` a stream has filled, by what ``held_by_stream`` has found."""
    own, others = held.get(stream, 0), sum(held.values()) - held.get(stream, 0)
    free = limits.spool_bytes - others
    of = f"the {_size(max(0, free))} that other streams leave of STREAMWAVE_SPOOL_MAX_GB"
    spare = own + spare_bytes(root)
    if spare < free:
        free, of = spare, f"the {_size(spare)} that are left for it on the disk of the spool (STREAMWAVE_SPOOL_DIR)"
    return Usage(stream, own, max(0, free) * limits.share_percent // 100, of)


def check_share(root: Path, stream: str, limits: StreamLimits) -> None:
    """Look whether more of ``stream`` may be received.

    Raises:
        LimitError: its share of the spool is full; the message says what to do.
    """
    if not limits.spool_bytes or not root.is_dir():
        return
    found = usage(root, stream, limits, held_by_stream(root))
    if found.full:
        raise LimitError(found.sentence(limits.share_percent))


def check_chunk(size_bytes: int, since_ms: int, limits: StreamLimits) -> None:
    """Look whether a chunk may grow that has ``size_bytes`` in the ``since_ms`` since its keyframe.

    Raises:
        LimitError: no.
    """
    if limits.chunk_bytes and size_bytes > limits.chunk_bytes:
        raise LimitError(
            f"a chunk has grown beyond {limits.chunk_bytes / 1e6:g} MB (STREAMWAVE_MAX_CHUNK_MB) in the "
            f"{since_ms / 1000:.1f} s since its keyframe; set the encoder's keyframe interval to 2 s, or lower its bit rate"
        )


class Quota:
    """The share of the stream whose ``session`` is received; that is a folder three levels below the spool of the machine.

    What one segmenter writes is counted as it goes; the whole spool is looked at now and then, at first at the beginning.
    """

    def __init__(self, session: Path, limits: StreamLimits) -> None:
        self._session, self._limits = session, limits
        self._look_bytes = min(LOOK_BYTES, limits.spool_bytes // LOOK_PART)
        self._unseen = self._look_bytes

    def add(self, written_bytes: int) -> None:
        """Count what was written."""
        self._unseen += written_bytes

    def check(self) -> None:
        """Look whether more may be received.

        Raises:
            LimitError: the stream's share of the spool is full.
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
    except FileNotFoundError:  # published and removed while we look
        return
