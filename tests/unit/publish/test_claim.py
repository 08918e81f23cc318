"""A broadcast is published only where nothing of somebody else's lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamwave.errors import OutputError
from streamwave.layout import MANIFEST, MASTER
from streamwave.manifest.ledger import Ledger
from streamwave.publish.claim import check_claim, is_same_manifest
from streamwave.storage.store import LocalStore
from tests.support.broadcast import HEADER


def claim(store: LocalStore, copy_of: LocalStore | None = None, fingerprint: str = "job") -> None:
    check_claim(store, Ledger.load(store), HEADER.model_copy(update={"fingerprint": fingerprint}), copy_of)


def test_an_empty_store_and_the_same_broadcast_are_accepted(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    claim(store)
    Ledger(store).append(HEADER)
    store.put(MANIFEST, b"ours")
    claim(store)
    with pytest.raises(OutputError, match="already holds a broadcast; choose another output, or replace it"):
        claim(store, fingerprint="another")


@pytest.mark.parametrize("name", [MANIFEST, MASTER])
def test_a_manifest_without_a_ledger_is_somebody_elses_unless_it_equals_that_of_a_copy(
    tmp_path: Path, name: str
) -> None:
    store, copy = LocalStore(tmp_path / "out"), LocalStore(tmp_path / "copy")
    store.put(name, b'<MPD publishTime="2026-01-01T00:00:00Z" id="x"/>')
    for copy_of in (None, copy):
        with pytest.raises(OutputError, match=f"holds a {name} that another program wrote"):
            claim(store, copy_of)
    copy.put(name, b'<MPD publishTime="2027-01-01T00:00:00Z" id="x"/>')
    claim(store, copy)


def test_only_the_time_of_writing_may_differ() -> None:
    one = b'<MPD publishTime="1" id="x">'
    assert is_same_manifest(one, b'<MPD publishTime="22" id="x">')
    assert not is_same_manifest(one, b'<MPD publishTime="1" id="y">') and not is_same_manifest(one, None)
