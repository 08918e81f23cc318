"""Which stream a key opens, and what a publisher without a valid key learns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ingest.call import HookCall, read_call
from services.ingest.keys import Keys
from services.ingest.refusal import Refused
from streamwave.config.settings import Settings
from streamwave.streams.database import Database
from streamwave.streams.registry import Registry


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setenv("STREAMWAVE_STATE_DIR", str(tmp_path / "var"))
    database = Database.open(Settings.load(env_file=None))
    yield Registry(database)
    database.close()


def call(key: str) -> HookCall:
    return read_call("start-stream", "i", {"name": key, "clientid": "1", "addr": "198.51.100.77"})


def refused(keys: Keys, key: str) -> str:
    with pytest.raises(Refused) as caught:
        asyncio.run(keys.stream_of(call(key)))
    assert caught.value.status == 403
    return caught.value.sentence


def test_a_key_opens_its_stream_while_that_is_enabled(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    keys, (stream, key) = Keys(registry), registry.add("show")
    registry.add("other")
    assert asyncio.run(keys.stream_of(call(key))) == stream
    assert asyncio.run(keys.opens(call(key), "show"))
    assert not asyncio.run(keys.opens(call(key), "other"))
    registry.change("show", enabled=False)
    assert not asyncio.run(keys.opens(call(key), "show"))
    # The answer does not reveal that the key is right; the log does, without the key.
    assert refused(keys, key) == refused(keys, "wrong")
    assert "the stream show is disabled" in caplog.text
    assert key not in caplog.text


def test_a_key_that_was_replaced_opens_nothing(registry: Registry) -> None:
    keys, (_stream, old) = Keys(registry), registry.add("show")
    new = registry.rotate_key("show")
    assert not asyncio.run(keys.opens(call(old), "show"))
    assert asyncio.run(keys.opens(call(new), "show"))
    assert refused(keys, old)
