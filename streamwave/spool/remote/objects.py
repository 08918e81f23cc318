"""Names and contents of the objects of a broadcast's spool in a store, and access to them."""

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
#: Journal lines that are also stored together in one object, so that a run that starts late needs fewer requests.
PART_LINES = 100
#: Objects that are deleted or transferred concurrently.
PARALLEL = 16


def line_name(session: str, number: int) -> str:
    """Name of a journal line of a session; lines are counted from 0."""
    return f"{session}/journal/{number:06d}.json"


def part_name(session: str, number: int) -> str:
    """Name of the object with ``PART_LINES`` journal lines of a session; parts are counted from 0."""
    return f"{session}/journal/part-{number:06d}.jsonl"


class RunRecord(Frozen):
    """The content of ``run.json``, written by the run; ``beat`` is its heartbeat, which changes while the run is alive.

    ``local``: the run is on the receiving machine and holds the lock in its local folder, which shows its death sooner.
    ``done``: for each session, the number of the first chunk that the run may still need.
    """

    token: str
    beat: int = 0
    local: bool = False
    ended: bool = False
    done: dict[str, int] = Field(default_factory=dict)
    status: dict[str, Any] = Field(default_factory=dict)


def read_run_record(data: bytes | None) -> RunRecord | None:
    """Parse ``run.json``; None if it is missing or invalid."""
    try:
        return RunRecord.model_validate_json(data) if data is not None else None
    except ValidationError:
        return None


def open_spool(url: str, options: Mapping[str, Any], *, quick: bool = False) -> Store:
    """Open the store of a spool, or of one broadcast in it; ``options`` apply to S3 only.

    Raises:
        OutputError: the address has an unknown scheme.
    """
    return open_store(url, options if url.startswith(("s3://", "s3a://")) else {}, quick=quick)


def check_spool(url: str | None, options: Mapping[str, Any]) -> None:
    """Check that a spool in a store can be written, read and cleaned. Does nothing if the spool is a folder (None).

    Raises:
        SpoolError: the store refused; the message says why and what to do.
    """
    if url is None:
        return
    try:
        open_spool(url, options, quick=True).check()
    except OutputError as error:
        why = str(error).replace("S3_BUCKET", "STREAMWAVE_SPOOL_DIR").replace("another output", "another place")
        raise SpoolError(f"the spool {why}") from None


def remove(store: Store, names: Iterable[str]) -> None:
    """Delete objects concurrently.

    Raises:
        OutputError: the store refused to delete an object; others may have been deleted.
    """
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="clear") as pool:
        list(pool.map(store.delete, list(names)))


def remove_broadcast(store: Store) -> int:
    """Delete all objects of the broadcast at ``store``, its description and its mark as finished last. Returns their number.

    Raises:
        OutputError: the store refused; the call can be repeated.
    """
    names = [entry.name for entry in store.entries()]
    last = {INFO, "finished"}
    remove(store, (name for name in names if name not in last))
    remove(store, (name for name in names if name in last))
    store.prune()
    return len(names)
