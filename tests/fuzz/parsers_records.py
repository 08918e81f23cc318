"""The readers of what a disk or a store may have damaged: journals, ledgers, descriptions, manifests."""

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
from streamwave.spool.info import INFO, still_said
from streamwave.spool.journal import (
    JOURNAL,
    ChunkLine,
    JournalReader,
    end_of,
    opened_with,
    read_line,
    received_ms,
)
from streamwave.spool.remote.objects import read_word
from streamwave.spool.remote.sign import Sign
from streamwave.storage.local import LocalStore
from streamwave.verify.hls import read_master, read_playlist
from streamwave.verify.mpd import read_mpd
from tests.fuzz.parsers import parser


def _folder() -> Path:
    """A folder of this process."""
    if not _made:
        _made.append(Path(tempfile.mkdtemp(prefix="streamwave-fuzz-")))
        atexit.register(shutil.rmtree, _made[0], ignore_errors=True)
    return _made[0]


_made: list[Path] = []


class Parts(LocalStore):
    """A store whose objects are given."""

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
    """The journal of a session: what its end says, and all of it. A record that is written is read back."""
    folder = _folder()
    (folder / JOURNAL).write_bytes(data)
    assert received_ms(folder) is not None
    end_of(folder)
    opened = opened_with(folder)
    records = JournalReader(folder).read()
    for record in records:
        assert read_line(record.model_dump_json().encode()) == record
    if opened is not None and opened.rate is not None:
        opened.properties()
        # Of a job only what says where a chunk lies.
        job: Any = SimpleNamespace(rate=opened.rate, segment_ms=2000, spool=str(folder), passthrough=None)
        for record in records:
            if isinstance(record, ChunkLine):
                with suppress(MediaError):
                    place(job, record.chunk)


@parser(OutputError, text=True)
def ledger(data: bytes) -> None:
    """A ledger in parts, its timeline, and the manifests that are made of it. What is saved is read back."""
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
    """What lies beside a journal: of the broadcast, of its run, of the service that runs it, of its publisher."""
    spool = BroadcastSpool(_folder() / "cam" / "20261122-131800-4f2a")
    spool.folder.mkdir(parents=True, exist_ok=True)
    for name in (INFO, STATUS, attempts.FILE, metadata.FILE, "encoding.json", "clock.json"):
        (spool.folder / name).write_bytes(data)
    still_said(data, "output")
    spool.status()
    attempts.read(spool.folder)
    metadata.read(spool.folder)
    kept_encoding(spool.folder)
    days_to_keep(spool.folder, 30, 1_700_000_000_000)
    word = read_word(data)
    assert word is None or read_word(word.model_dump_json().encode()) == word
    sign = Sign(1.0, clock=lambda: 0.0)
    assert sign.saw(data) and not sign.saw(data)
    info = spool.info()
    assert type(info).model_validate_json(info.model_dump_json()) == info


@parser(OutputError, text=True)
def entry(data: bytes) -> None:
    """What an output says of its broadcasts: entries, the list, whoever publishes, when the manifest was written."""
    store = Parts({ENTRY: data, INDEX: data, FENCE: data, MANIFEST: data})
    catalog.read_entry(store)
    catalog.published_unix_ms(store)
    index.is_current(store)
    assert not Fence(store, "token").holds() or b"token" in data


@parser(MediaError, text=True)
def mpd(data: bytes) -> None:
    """A manifest of ours, read to check it."""
    listed = read_mpd(data)
    listed.objects()
    assert listed.end is not None


@parser(MediaError, text=True)
def playlist(data: bytes) -> None:
    """Playlists of ours, read to check them."""
    text = data.decode("utf-8", "replace")
    with suppress(MediaError):
        read_master(text)
    read_playlist(text)
