"""Parsers with deliberate faults, for the test of the runner."""

from __future__ import annotations

import os
import sys

from tests.fuzz import guided, parsers


def _raises() -> None:
    raise KeyError("planted")


def _hangs() -> None:
    while True:
        pass


def _dies() -> None:
    os.abort()


def _grows() -> None:
    bytearray(8 << 30)


_BAD = {"raises": _raises, "hangs": _hangs, "dies": _dies, "grows": _grows}


class _Planted(parsers.Parser):
    def seeds(self) -> list[bytes]:
        """One valid input, and one that fails."""
        return [b"good", b"bad"]


def main() -> int:
    """Replacement for ``tests.fuzz.guided``."""
    given = guided.options()

    def check(data: bytes) -> None:
        if data == b"bad":
            _BAD[given.parser]()

    return guided.run(_Planted(given.parser, check, ()), given, None)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
