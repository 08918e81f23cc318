"""The errors of StreamWave.

::

    StreamWaveError              exit code 1
    ├── UsageError               the caller asked for something impossible     exit code 2, HTTP 400, INVALID_ARGUMENT
    │   ├── SourceError          the source cannot be read or contains no media
    │   ├── LadderError          a rendition is unknown or impossible
    │   └── SettingsError        a setting has an invalid value
    ├── OutputError              the output is unavailable, refuses or is full  FAILED_PRECONDITION
    │   ├── DamagedError         a ledger cannot be read
    │   ├── EmptiedError         the output exists, but the broadcast in it has been deleted
    │   └── FencedError          another run has taken over publishing this session
    ├── IncompleteError          published to the end, but not to every output, or with filler for parts of the source
    ├── SpoolError               the journal or a chunk is damaged or missing
    │   └── LimitError           a stream has used up its share of this machine     HTTP 429
    ├── MediaError               a produced file breaks an invariant (frames, boundaries, boxes)
    │   └── UnfitError           the source's own video cannot be passed through, so it is encoded
    └── FFmpegError              an FFmpeg process failed, hung or was killed
        └── TooCostlyError       it exceeded its resource limits; a retry cannot help

Every message is one sentence that names the cause and says what to do. Every error can be pickled, because task runs pass
errors between processes; all state is therefore in ``args``.
"""

from __future__ import annotations

import sys


class StreamWaveError(Exception):
    """Base class of every error that StreamWave raises deliberately; ``str(error)`` is one line for the user."""

    exit_code = 1


def tell(error: StreamWaveError) -> int:
    """Print the error that ends a program, prefixing each line of its message; return the exit code."""
    for line in str(error).splitlines():
        print(f"error: {printable(line)}", file=sys.stderr)
    return error.exit_code


def printable(text: str) -> str:
    """``text`` with unprintable characters (cursor movement, line breaks, bidirectional controls) as Python escapes."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


class UsageError(StreamWaveError):
    """The request cannot be fulfilled as it stands."""

    exit_code = 2


class SourceError(UsageError):
    """The source is missing, unreadable or has neither video nor audio."""


class LadderError(UsageError):
    """A rendition is unknown, or the ladder is empty or contradicts itself."""


class SettingsError(UsageError):
    """A setting has an invalid value, or two settings contradict each other."""


class OutputError(StreamWaveError):
    """The output cannot be written: it is missing, read-only, full, or contains something else."""


class DamagedError(OutputError):
    """The ledger of a broadcast cannot be read. Only this broadcast is affected."""


class EmptiedError(OutputError):
    """The output exists, but the whole broadcast in it has been deleted; the broadcast can be started there again."""


class FencedError(OutputError):
    """Another run has taken over publishing this session."""


class IncompleteError(StreamWaveError):
    """The source was published to its end, but parts that could not be used were replaced by black frames or silence, or
    some outputs did not receive everything; ``behind`` has the addresses of those outputs.
    """

    def __init__(self, message: str, behind: tuple[str, ...] = ()) -> None:
        super().__init__(message, behind)

    def __str__(self) -> str:
        return str(self.args[0])

    @property
    def behind(self) -> tuple[str, ...]:
        """Addresses of the outputs that are missing objects."""
        return self.args[1]  # type: ignore[no-any-return]


class SpoolError(StreamWaveError):
    """The journal or a chunk file is missing or damaged."""


class LimitError(SpoolError):
    """A stream has used up its share of this machine; the limit protects the other streams."""


class MediaError(StreamWaveError):
    """Produced media breaks an invariant: frame count, segment boundary, box structure, or a changed init segment."""


class UnfitError(MediaError):
    """The source's own video cannot be passed through, so it is encoded; the message completes "because …"."""


class FFmpegError(StreamWaveError):
    """An FFmpeg process failed.

    ``command`` is the argv, ``returncode`` is negative for a signal, ``stderr_tail`` has the last lines of stderr.
    """

    def __init__(self, what: str, command: tuple[str, ...] = (), returncode: int | None = None, stderr_tail: str = ""):
        super().__init__(what, command, returncode, stderr_tail)
        self.what, self.command, self.returncode, self.stderr_tail = what, command, returncode, stderr_tail

    def __str__(self) -> str:
        last = self.stderr_tail.strip().splitlines()[-1:] or [""]
        status = "" if self.returncode is None else f" (exit status {self.returncode})"
        return f"{self.what}{status}" + (f": {last[0]}" if last[0] else "")


class TooCostlyError(FFmpegError):
    """An FFmpeg process exceeded its resource limits; a retry would exceed them too."""

    def __str__(self) -> str:
        return self.what
