"""Who calls a flow in this process: the person at the command line, and what of a run they want to be told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from streamwave.pipeline.live import OnWait

log = logging.getLogger("streamwave.progress")


def _ignore(*_: object) -> None:
    pass


def _log(note: str) -> None:
    log.warning("%s", note)


@dataclass(frozen=True)
class Caller:
    """Functions that flows call in the thread that called them.

    ``on_progress(published_ms, expected_ms or None, chunks)`` after every chunk of a file. ``on_note(sentence)`` with what was
    found in the file that its owner should know; it is logged otherwise. ``on_receiving(stop)`` before anything is received,
    with a function that ends the receiving gracefully whenever it is called. ``on_wait(sentence, stop)`` when a recording is
    complete, but not at every output, with a function that ends the waiting for the others.
    """

    on_progress: Callable[[int, int | None, int], None] = _ignore
    on_note: Callable[[str], None] = _log
    on_receiving: Callable[[Callable[[], None]], None] = _ignore
    on_wait: OnWait = _ignore


_NOBODY = Caller()
_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


@contextmanager
def of_the_user(by: Caller = _NOBODY) -> Iterator[None]:
    """Flows that are called meanwhile, in this process, were asked for by the person whose process it is."""
    token = _caller.set(by)
    try:
        yield
    finally:
        _caller.reset(token)


def is_of_the_user() -> bool:
    """Whether this flow was asked for by the person whose process it is, and not through Prefect's API."""
    return _caller.get() is not None


def caller() -> Caller:
    """Whom to tell; nobody, where a run came from Prefect's API."""
    return _caller.get() or _NOBODY
