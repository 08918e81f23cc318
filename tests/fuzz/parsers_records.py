"""The readers of records that a disk or a store may have damaged: journals, ledgers, descriptions, manifests."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from services.processing import attempts, metadata
from streamwave.broadcasts import catalog, index
from streamwave.errors import MediaError, OutputError, SpoolError
from streamwave.layout import ENTRY, FENCE, INDEX, MANIFEST, ledger_name
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.memo import Memo
from streamwave.manifest.render import render_all
from streamwave.pipeline.job import place
from streamwave.publish.fence import Fence
from streamwave.retention.clock import days_to_keep
from streamwave.spool.broadcast import STATUS, BroadcastSpool
from streamwave.spool.encoding import kept_encoding
from streamwave.spool.info import INFO, salvage_field
from streamwave.spool.journal import (
    JOURNAL,
    ChunkLine,
    JournalReader,
    end_of,
    open_record_of,
    read_line,
    received_ms,
)
from streamwave.spool.remote.heartbeat import Heartbeat
from streamwave.spool.remote.objects import read_run_record
from streamwave.storage.local import LocalStore
from streamwave.verify.hls import read_master, read_playlist
from streamwave.verify.mpd import read_mpd
from tests.fuzz.parsers import parser


def _folder() -> Path:
    """A temporary folder of this process."""
    if not _made:
        _made.append(Path(tempfile.mkdtemp(prefix="streamwave-fuzz-")))
        atexit.register(shutil.rmtree, _made[0], ignore_errors=True)
    return _made[0]


_made: list[Path] = []


class Parts(LocalStore):
    """A store with given objects."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(_folder())
        self.objects = objects

    def get(self, name: str) -> bytes | None:
        """One of them."""
        return self.objects.get(name)

    def put(self, name: str, data: bytes) -> None:
        """Another one."""
        self.objects[name] = data


@parser(SpoolError, text=True)
def journal(data: bytes) -> None:
    """The journal of a session: its end record, and all records. Written records are read back."""
    folder = _folder()
    (folder / JOURNAL).write_bytes(data)
    assert received_ms(folder) is not None
    end_of(folder)
    opened = open_record_of(folder)
    records = JournalReader(folder).read()
    for record in records:
        assert read_line(record.model_dump_json().encode()) == record
    if opened is not None and opened.rate is not None:
        opened.properties()
        # Only the fields of a job that place a chunk on the timeline.
        job: Any = SimpleNamespace(rate=opened.rate, segment_ms=2000, spool=str(folder), passthrough=None)
        for record in records:
            if isinstance(record, ChunkLine):
                with suppress(MediaError):
                    place(job, record.chunk)


@parser(OutputError, text=True)
def ledger(data: bytes) -> None:
    """A ledger in parts, its timeline, and the manifests rendered from it. Saved ledgers are read back."""
    parts = {ledger_name(number): part for number, part in enumerate(data.split(b"\n\n"))}
    store = Parts(parts)
    found = Ledger.load(store)
    if found.timeline is None or not found.timeline.periods:
        return
    catalog.renditions(found.timeline), catalog.size_bytes(found.timeline)
    assert found.timeline.duration >= 0
    with suppress(MediaError):
        render_all(found, now_unix_ms=1_700_000_000_000, utc_timing_url=None, base_urls=(), memo=Memo())
    assert found.parts.lines_after(store) == []


@parser(SpoolError, text=True)
def description(data: bytes) -> None:
    """The other files in a spool: of the broadcast, its run, the processing service and the publisher's metadata."""
    spool = BroadcastSpool(_folder() / "cam" / "20261122-131800-4f2a")
    spool.folder.mkdir(parents=True, exist_ok=True)
    for name in (INFO, STATUS, attempts.FILE, metadata.FILE, "encoding.json", "clock.json"):
        (spool.folder / name).write_bytes(data)
    salvage_field(data, "output")
    spool.status()
    attempts.read(spool.folder)
    metadata.read(spool.folder)
    kept_encoding(spool.folder)
    days_to_keep(spool.folder, 30, 1_700_000_000_000)
    record = read_run_record(data)
    assert record is None or read_run_record(record.model_dump_json().encode()) == record
    heartbeat = Heartbeat(1.0, clock=lambda: 0.0)
    assert heartbeat.saw(data) and not heartbeat.saw(data)
    info = spool.info()
    assert type(info).model_validate_json(info.model_dump_json()) == info


@parser(OutputError, text=True)
def entry(data: bytes) -> None:
    """Other objects at an output: entries, the index, the fence, the manifest's time."""
    store = Parts({ENTRY: data, INDEX: data, FENCE: data, MANIFEST: data})
    catalog.read_entry(store)
    catalog.published_unix_ms(store)
    index.is_current(store)
    assert not Fence(store, "token").holds() or b"token" in data


@parser(MediaError, text=True)
def mpd(data: bytes) -> None:
    """An MPD, parsed to verify it."""
    listed = read_mpd(data)
    listed.objects()
    assert listed.end is not None


@parser(MediaError, text=True)
def playlist(data: bytes) -> None:
    """Playlists, parsed to verify them."""
    text = data.decode("utf-8", "replace")
    with suppress(MediaError):
        read_master(text)
    read_playlist(text)
