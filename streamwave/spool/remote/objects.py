"""What the objects of a broadcast's spool in a store are called and hold, and how they are reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import Field, ValidationError

from streamwave.errors import OutputError, SpoolError
from streamwave.model import Frozen
from streamwave.spool.info import INFO
from streamwave.storage.store import Store, open_store

METADATA, RECEIVER, RUN = "metadata.json", "receiver.json", "run.json"
#: Lines of a journal that are also stored as one object, so that a run that comes late need not ask for each.
PART_LINES = 100
#: Objects that are deleted, or files that are transferred, at the same time.
PARALLEL = 16


def line_name(session: str, number: int) -> str:
    """A line of a session's journal, counted from 0."""
    return f"{session}/journal/{number:06d}.json"


def part_name(session: str, number: int) -> str:
    """``PART_LINES`` lines of a session's journal in one object; the parts are counted from 0."""
    return f"{session}/journal/part-{number:06d}.jsonl"


class RunWord(Frozen):
    """What a run says of itself, in ``run.json``; ``beat`` changes for as long as it lives.

    ``local``: it holds the lock in the local folder of the machine that receives, which tells more quickly that it has
    died. ``done``: of each session, the number of the first chunk that it may still need.
    """

    token: str
    beat: int = 0
    local: bool = False
    ended: bool = False
    done: dict[str, int] = Field(default_factory=dict)
    status: dict[str, Any] = Field(default_factory=dict)


def read_word(data: bytes | None) -> RunWord | None:
    """What ``run.json`` says; None if it is not there, or nothing that we understand."""
    try:
        return RunWord.model_validate_json(data) if data is not None else None
    except ValidationError:
        return None


def open_spool(url: str, options: Mapping[str, Any], *, quick: bool = False) -> Store:
    """The store of a spool, or of a broadcast's part of it; ``options`` are those for S3.

    Raises:
        OutputError: the address has an unknown scheme.
    """
    return open_store(url, options if url.startswith(("s3://", "s3a://")) else {}, quick=quick)


def check_spool(url: str | None, options: Mapping[str, Any]) -> None:
    """Prove that a spool in a store can be written, read and cleaned; nothing where it is a folder (None).

    Raises:
        SpoolError: it cannot; the sentence says why and what to do.
    """
    if url is None:
        return
    try:
        open_spool(url, options, quick=True).check()
    except OutputError as error:
        why = str(error).replace("S3_BUCKET", "STREAMWAVE_SPOOL_DIR").replace("another output", "another place")
        raise SpoolError(f"the spool {why}") from None


def remove(store: Store, names: Iterable[str]) -> None:
    """Delete objects, several at a time.

    Raises:
        OutputError: the store refused one; others may be gone.
    """
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="clear") as pool:
        list(pool.map(store.delete, list(names)))


def remove_broadcast(store: Store) -> int:
    """Delete everything of the broadcast at ``store``; how many objects there were.

    What marks it as finished, and describes it, goes last.

    Raises:
        OutputError: the store refused; what is left can be removed by doing it again.
    """
    names = [entry.name for entry in store.entries()]
    last = {INFO, "finished"}
    remove(store, (name for name in names if name not in last))
    remove(store, (name for name in names if name in last))
    store.prune()
    return len(names)
