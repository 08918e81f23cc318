"""The exit codes of ``streamwave``. A test compares this table with ``streamwave/errors.py``."""

from __future__ import annotations

EXIT_CODES = {
    0: "Success.",
    1: "The command failed, its result is incomplete (transcode had to leave out parts of the source, demo lost a frame), "
    "or it found a problem (verify, doctor, an output that cannot be reached).",
    2: "The request is invalid: an unknown option, broadcast or rendition, a malformed output, a source that cannot be read, "
    "or a setting with an invalid value.",
    130: "Interrupted by Ctrl-C or SIGTERM.",
}


def epilog() -> str:
    """The table as text for the end of ``streamwave --help``."""
    return "Exit codes:\n\n" + "\n\n".join(f"{code}: {meaning}" for code, meaning in EXIT_CODES.items())
