"""Where the command ``streamwave`` begins: from here on Ctrl-C says a word and no traceback, also while Python still loads."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Load the command line and run it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stopped)
    from streamwave.util.private import begin

    begin()
    from streamwave.cli.app import main as command

    command()


def _stopped(*_: object) -> None:
    # Nothing has begun that would have to be put in order.
    os.write(2, b"stopped\n")
    os._exit(130)
