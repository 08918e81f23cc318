"""The errors of StreamWave.

::

    StreamWaveError              exit code 1
    ├── UsageError               the caller asked for something impossible     exit code 2, HTTP 400, INVALID_ARGUMENT
    │   ├── SourceError          the source cannot be read or holds no media
    │   ├── LadderError          unknown or impossible rendition
    │   └── SettingsError        a setting has an impossible value
    ├── OutputError              the store refuses or is full                  FAILED_PRECONDITION
    │   ├── DamagedError         a ledger cannot be read
    │   ├── EmptiedError         the output is there, and the broadcast in it is gone
    │   └── FencedError          another run publishes this session
    ├── IncompleteError          all is published, but not to every output, or without parts of the source
    ├── SpoolError               the journal or a chunk is damaged or missing
    │   └── LimitError           a stream has used up its share of this machine     HTTP 429
    ├── MediaError               a produced file breaks an invariant (frames, boundaries, boxes)
    │   └── UnfitError           the source's own pictures cannot be a rendition; they are encoded then
    └── FFmpegError              an FFmpeg process failed, hung or was killed
        └── TooCostlyError       it exceeded its limits; trying again cannot help

Every message is one sentence that names the cause and says what to do. Every error pickles, because task runs carry
them between processes: all state travels in ``args``.
"""

from __future__ import annotations

import sys


class StreamWaveError(Exception):
    """Base of all errors that StreamWave raises on purpose; ``str(error)`` is one line for a person."""

    exit_code = 1


def tell(error: StreamWaveError) -> int:
    """Print an error that ends a program, a line for each of its sentences; the exit code."""
    for line in str(error).splitlines():
        print(f"error: {printable(line)}", file=sys.stderr)
    return error.exit_code


def printable(text: str) -> str:
    """``text`` with whatever could move a cursor, begin a line or turn the direction of writing as an escape of Python."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


class UsageError(StreamWaveError):
    """The request itself cannot be met."""

    exit_code = 2


class SourceError(UsageError):
    """The source is missing, unreadable or has neither video nor audio."""


class LadderError(UsageError):
    """A rendition is unknown, or the ladder is empty or contradicts itself."""


class SettingsError(UsageError):
    """A setting has a value that cannot work."""


class OutputError(StreamWaveError):
    """The output cannot be written: missing, read-only, full, or holding something else."""


class DamagedError(OutputError):
    """The ledger of a broadcast cannot be understood: that one broadcast is lost to us, and no other."""


class EmptiedError(OutputError):
    """The output is in its place, but all of the broadcast in it has been deleted: it can be begun there again."""


class FencedError(OutputError):
    """Another run has taken over the publishing of this session."""


class IncompleteError(StreamWaveError):
    """A source was published to its end, with black pictures or silence in the place of what could not be used, or with
    outputs that did not get all of it: ``behind`` are their addresses.
    """

    def __init__(self, message: str, behind: tuple[str, ...] = ()) -> None:
        super().__init__(message, behind)

    def __str__(self) -> str:
        return str(self.args[0])

    @property
    def behind(self) -> tuple[str, ...]:
        """Addresses of the outputs that lack something."""
        return self.args[1]  # type: ignore[no-any-return]


class SpoolError(StreamWaveError):
    """The journal or a chunk file is missing or damaged."""


class LimitError(SpoolError):
    """A stream has used up what one stream may use of this machine, so that the others can go on."""


class MediaError(StreamWaveError):
    """Produced media breaks an invariant: frame count, boundary, box structure or an init segment that changed."""


class UnfitError(MediaError):
    """The source's own pictures cannot be shown as they are, so they are encoded; the message completes "because"."""


class FFmpegError(StreamWaveError):
    """An FFmpeg process failed.

    ``command`` is the argv, ``returncode`` negative for a signal, ``stderr_tail`` its last lines.
    """

    def __init__(self, what: str, command: tuple[str, ...] = (), returncode: int | None = None, stderr_tail: str = ""):
        super().__init__(what, command, returncode, stderr_tail)
        self.what, self.command, self.returncode, self.stderr_tail = what, command, returncode, stderr_tail

    def __str__(self) -> str:
        last = self.stderr_tail.strip().splitlines()[-1:] or [""]
        status = "" if self.returncode is None else f" (exit status {self.returncode})"
        return f"{self.what}{status}" + (f": {last[0]}" if last[0] else "")


class TooCostlyError(FFmpegError):
    """An FFmpeg process exceeded the limits that it was given; the next try would as well."""

    def __str__(self) -> str:
        return self.what
