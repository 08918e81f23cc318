"""The exit codes of ``streamwave``, in one table. A test holds it against ``streamwave/errors.py``."""

from __future__ import annotations

EXIT_CODES = {
    0: "The command did what was asked.",
    1: "The command failed, or it found something wrong (verify, doctor, an output that cannot be reached).",
    2: "The request cannot be met: unknown option, source, broadcast or rendition, or a setting with an impossible value.",
    130: "Interrupted by Ctrl-C or a termination request.",
}


def epilog() -> str:
    """The table as the last paragraphs of ``streamwave --help``."""
    return "Exit codes:\n\n" + "\n\n".join(f"{code}: {meaning}" for code, meaning in EXIT_CODES.items())
