"""The caller of a flow in this process: whether it is the command line, and its callbacks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from streamwave.pipeline.ahead import HeadStart
from streamwave.pipeline.live import OnWait

log = logging.getLogger("streamwave.progress")


def _ignore(*_: object) -> None:
    pass


def _log(note: str) -> None:
    log.warning("%s", note)


@dataclass(frozen=True)
class Caller:
    """Callbacks of a flow's caller, called in the thread that called the flow.

    ``on_progress(published_ms, expected_ms or None, chunks)``: after every chunk of a file. ``on_note(sentence)``: something
    about the file that its owner should know; logged by default. ``on_receiving(stop)``: before anything is received, with
    a function that ends the receiving gracefully. ``on_wait(sentence, stop)``: when a recording is complete, but not at every
    output, with a function that ends the wait for the others. ``ahead``: the session of the file, opened by the caller.
    """

    on_progress: Callable[[int, int | None, int], None] = _ignore
    on_note: Callable[[str], None] = _log
    on_receiving: Callable[[Callable[[], None]], None] = _ignore
    on_wait: OnWait = _ignore
    ahead: HeadStart | None = None


_NOBODY = Caller()
_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


@contextmanager
def of_the_user(by: Caller = _NOBODY) -> Iterator[None]:
    """Mark flows that are called in this context as requested by the user who runs this process."""
    token = _caller.set(by)
    try:
        yield
    finally:
        _caller.reset(token)


def is_of_the_user() -> bool:
    """Whether this flow was requested by the user who runs this process, rather than through Prefect's API."""
    return _caller.get() is not None


def caller() -> Caller:
    """The caller's callbacks; those of a run from Prefect's API do nothing."""
    return _caller.get() or _NOBODY
