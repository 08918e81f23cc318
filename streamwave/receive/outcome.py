"""Why receiving has ended, as the journal records it: a reason for programs and, after a failure, a sentence for people."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from streamwave.errors import LimitError, SourceError
from streamwave.ffmpeg.admission import lacked_memory, too_much_memory
from streamwave.sources.address import shown
from streamwave.spool.journal import LIMIT_REACHED, SEGMENTER_FAILED, SPOOL_FAILED
from streamwave.spool.options import Options

log = logging.getLogger("streamwave.segmenter")


class OtherKind(Exception):
    """The source has pictures and its broadcast has none, or the reverse. Its text is one of ``journal.OTHER_KIND``."""


@dataclass(frozen=True)
class Outcome:
    """``reason`` is that of an ``EndRecord``; ``error`` is None unless something has failed."""

    reason: str
    error: str | None = None


def outcome_of(failure: Exception, options: Options, spool: Path) -> Outcome:
    """What the journal says after ``failure``; ``spool`` is the folder that was being written."""
    if isinstance(failure, OtherKind):
        return Outcome(str(failure))
    if isinstance(failure, LimitError):
        return Outcome(LIMIT_REACHED, str(failure))
    if isinstance(failure, SourceError):
        return Outcome("source failed", str(failure))
    if isinstance(failure, OSError):
        return Outcome(SPOOL_FAILED, f"the spool {spool} cannot be written ({failure.strerror})")
    log.error("the source could not be cut into chunks", exc_info=failure)
    return Outcome(SEGMENTER_FAILED, _unexpected(failure, options))


def _unexpected(failure: Exception, options: Options) -> str:
    """A sentence on a failure that is probably a bug; the log has the details for developers."""
    if isinstance(failure, MemoryError) or lacked_memory(options.limits):
        return too_much_memory(options.source, options.limits)
    what = f"{type(failure).__name__}: {(str(failure) or 'no reason given').splitlines()[0]}"
    advised = "convert it to H.264 and AAC, and report this"
    return f"{shown(options.source)} can no longer be cut into chunks ({what}); {advised}"
