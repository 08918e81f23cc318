"""Names: what belongs to a broadcast, and what only looks like it."""

from __future__ import annotations

from streamwave.layout import (
    ENTRY,
    FENCE,
    INDEX,
    LIVE_MANIFEST,
    MANIFEST,
    MASTER,
    THUMBNAIL,
    init_name,
    is_broadcast_object,
    ledger_name,
    playlist_name,
    segment_name,
)
from streamwave.storage.store import check_name


def test_every_name_that_is_formed_is_a_broadcasts_and_fits_a_store() -> None:
    names = [MANIFEST, LIVE_MANIFEST, MASTER, FENCE, THUMBNAIL, ENTRY, init_name("p0", "720p"),
             segment_name("p12", "audio", 10**12), playlist_name("360p"), ledger_name(0), ledger_name(10**7)]  # fmt: skip
    assert all(is_broadcast_object(name) and check_name(name) for name in names)


def test_what_lies_beside_it_is_not() -> None:
    beside = [INDEX, "notes.txt", "film.mp4", "show/manifest.mpd", "show/p0/720p/0.m4s", "p0/notes.txt", "film/video/init.mp4",
              "p0/720p/0.m4s.bak", "ledger/notes.txt", "p0/720p/sub/0.m4s", "x/ledger/000000.jsonl"]  # fmt: skip
    assert not any(map(is_broadcast_object, beside))
