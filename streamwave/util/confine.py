"""Command prefixes that keep a process from gaining privileges, drop root's capabilities, and tie it to its parent's life."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache

from streamwave.util.programs import ask
from streamwave.util.trust import program

#: The only capabilities of root that FFmpeg needs: to read and write other users' files, as root always could.
FILES = ("dac_override", "dac_read_search")


def guarded(death_signal: str | None, keep: Sequence[str] | None = None) -> list[str]:
    """Prefix for a command line (setpriv(1)); empty if setpriv is not installed.

    ``death_signal`` is sent to the process when the thread that started it ends. ``keep`` lists the capabilities of root
    (capabilities(7)) that the process and its children retain; None retains all.
    """
    setpriv = _setpriv()
    if setpriv is None:
        return []
    death = ["--pdeathsig", death_signal] if death_signal else []
    return [setpriv, "--no-new-privs", *death, *(_without(setpriv, tuple(keep)) if keep is not None else []), "--"]


@cache
def _setpriv() -> str | None:
    return program("setpriv", "/usr/bin")


@cache
def _without(setpriv: str, keep: tuple[str, ...]) -> list[str]:
    if os.geteuid() != 0:
        return []  # not root: there are no capabilities to drop
    options = ["--bounding-set=" + ",".join(["-all", *(f"+{name}" for name in keep)]), "--inh-caps=-all"]
    # A container may have taken away the capability that this needs; it has then restricted the others itself.
    return options if ask(setpriv, *options, "--", setpriv, "--version").startswith("setpriv from") else []
