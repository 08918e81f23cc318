"""The bound of the spool: how many bytes of received chunks may wait to be published, over all streams of the machine.

Chunks that are published leave the spool at once, so what lies in it still has to be published and none of it may be
dropped. When the bound is reached, receiving ends instead, and all that was received is published.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from streamwave.spool.journal import MEDIA_SUFFIXES


@dataclass(frozen=True)
class Bound:
    """``session`` is the spool of one session, three folders below that of the machine; ``max_bytes`` 0: no bound."""

    session: Path
    max_bytes: int

    def check(self) -> None:
        """Look whether one more chunk may be received.

        Raises:
            OSError: (EDQUOT) no; its ``strerror`` says why and what to do.
        """
        if self.max_bytes and (held := sum(_sizes(self.session.parents[2]))) >= self.max_bytes:
            raise OSError(
                errno.EDQUOT,
                f"{held / 1e9:.3g} GB of chunks wait to be published, STREAMWAVE_SPOOL_MAX_GB allows "
                f"{self.max_bytes / 1e9:.3g}: publish faster, or raise it",
            )


def _sizes(folder: Path) -> Iterator[int]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _sizes(Path(entry.path))
                elif entry.name.endswith(MEDIA_SUFFIXES):
                    yield entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:  # published and removed while we look
        return
