"""What is put in front of a command so that its process can gain no privileges, loses root's, and dies with its starter."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache

from streamwave.util.programs import ask
from streamwave.util.trust import program

#: All that FFmpeg needs of root's capabilities: files of other users, as root has always read and written them.
FILES = ("dac_override", "dac_read_search")


def guarded(death_signal: str | None, keep: Sequence[str] | None = None) -> list[str]:
    """Beginning of a command line (setpriv(1)); empty where there is no setpriv.

    ``death_signal`` is what the process gets when the thread that starts it ends. ``keep``: of root's capabilities
    (capabilities(7)) these remain, for it and all that it starts; None: all.
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
        return []  # there are none to lose
    options = ["--bounding-set=" + ",".join(["-all", *(f"+{name}" for name in keep)]), "--inh-caps=-all"]
    # A container may have taken the capability for this from root: then it has bounded the others itself.
    return options if ask(setpriv, *options, "--", setpriv, "--version").startswith("setpriv from") else []
