"""Entry point of the command ``streamwave``: handles Ctrl-C without a traceback even while modules are being imported."""

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
    # Nothing has been started that would need to be cleaned up.
    os.write(2, b"stopped\n")
    os._exit(130)
