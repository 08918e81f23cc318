"""Streams and publishes in the database, and the command line that manages them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.ingest.log import line
from streamwave.cli.streams import streams_app
from streamwave.config.settings import Settings
from streamwave.errors import SettingsError, UsageError
from streamwave.streams.database import Database
from streamwave.streams.hooks import hook_token, hooks_url
from streamwave.streams.keys import hash_key, new_key
from streamwave.streams.publishes import Client, Publishes
from streamwave.streams.registry import Registry, StreamExistsError, UnknownStreamError


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("STREAMWAVE_STATE_DIR", str(tmp_path / "var"))
    return Settings.load(env_file=None)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    found = Database.open(settings)
    yield found
    found.close()


def test_keys_are_random_and_found_by_their_hash(database: Database) -> None:
    assert len({new_key() for _ in range(100)}) == 100
    registry = Registry(database)
    stream, key = registry.add("show", "A show")
    assert registry.find(hash_key(key)) == stream
    new = registry.rotate_key("show")
    assert registry.find(hash_key(key)) is None
    assert registry.find(hash_key(new)) == stream
    registry.remove("show")
    assert registry.find(hash_key(new)) is None
    with pytest.raises(UnknownStreamError, match="show"):
        registry.get("show")


def test_names_and_titles(database: Database) -> None:
    registry = Registry(database)
    registry.add("show")
    with pytest.raises(StreamExistsError):
        registry.add("show")
    for name in ("../x", "", "Show", "a" * 65, "a\0"):
        with pytest.raises(UsageError):
            registry.add(name)
    with pytest.raises(UsageError, match="title"):
        registry.change("show", title="two\nlines")
    assert registry.change("show", enabled=False).enabled is False


def test_only_one_publish_of_a_stream_is_open(database: Database) -> None:
    publishes = Publishes(database)
    first = publishes.begin("show", Client(instance="a", clientid="1"), "hash", "127.0.0.1")
    assert first is not None
    assert publishes.begin("show", Client(instance="a", clientid="2"), "hash", "127.0.0.1") is None
    other = publishes.begin("other", Client(instance="b", clientid="1"), "hash", "127.0.0.1")
    assert other is not None
    placed = publishes.accept(publishes.place(first, "20260101", "000000"))
    assert publishes.open_of("show") == placed
    # The same client id after a restart of the server is another connection.
    assert publishes.open_by(Client(instance="b", clientid="1")) == other
    assert publishes.open_by(Client(instance="c", clientid="1")) is None
    assert publishes.end(first, "left") and not publishes.end(first, "left again")
    assert publishes.open() == [other]
    assert publishes.begin("show", Client(instance="a", clientid="2"), "hash", "127.0.0.1") is not None


def test_of_many_at_once_one_publishes(database: Database) -> None:
    publishes, won, barrier = Publishes(database), [], threading.Barrier(8)

    def attempt(number: int) -> None:
        barrier.wait(60)
        won.append(publishes.begin("show", Client(instance="a", clientid=str(number)), "hash", ""))

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(won) == 8 and sum(one is not None for one in won) == 1


def test_databases_that_cannot_be_used(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Database.open(settings).close()
    with sqlite3.connect(tmp_path / "var" / "streamwave.db") as connection:
        connection.execute("UPDATE streamwave_schema SET version = 99")
    connection.close()
    with pytest.raises(SettingsError, match="version 99"):
        Database.open(settings)
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at " * 20)
    for address in (f"sqlite:///{tmp_path}/text.db", "sqlite:////proc/none/x.db", "nonsense", "mysql://u:secret@h/db"):
        monkeypatch.setenv("STREAMWAVE_DATABASE_URL", address)
        with pytest.raises(SettingsError, match="STREAMWAVE_DATABASE_URL") as caught:
            Database.open(Settings.load(env_file=None))
        assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_postgres_that_is_not_there_is_one_line(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMWAVE_DATABASE_URL", "postgresql+psycopg://user:secret@127.0.0.1:1/name")
    with pytest.raises(SettingsError, match=r"name on 127\.0\.0\.1 cannot be opened") as caught:
        Database.open(Settings.load(env_file=None))
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_the_token_of_the_hooks_stays_and_every_start_has_its_own_address(settings: Settings) -> None:
    token = hook_token(settings)
    assert len(token) == 32 and hook_token(settings) == token
    one, other = hooks_url(settings), hooks_url(settings)
    assert one.startswith(f"http://127.0.0.1:8081/hooks/{token}/") and one != other


def test_a_line_of_the_log_is_one_line() -> None:
    assert line("event", {"a": "x", "b": "", "c": 'y"\nz=1', "d": "é"}) == "event a=x c='y\"\\nz=1' d='\\xe9'"


def test_the_command_line(settings: Settings, database: Database) -> None:
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(streams_app, list(arguments))
        assert done.exit_code == 0, done.output
        return done.output

    def key_in(text: str) -> str:
        return next(word for word in text.split() if word.startswith("sw_"))

    assert "no streams yet" in run("ls")
    added = run("add", "show", "--title", "A [title]")
    registry = Registry(database)
    found = registry.find(hash_key(key_in(added)))
    assert found is not None and (found.name, found.title) == ("show", "A [title]")
    assert "rtmp://127.0.0.1:1936/live" in added
    listed = run("ls")
    assert "show" in listed and "A [title]" in listed and key_in(added) not in listed
    assert key_in(run("rotate-key", "show")) != key_in(added)
    run("disable", "show")
    assert not registry.get("show").enabled and "disabled" in run("ls")
    run("enable", "show")
    assert registry.get("show").enabled
    run("rm", "show")
    assert registry.all() == []
    with pytest.raises(UnknownStreamError):
        CliRunner().invoke(streams_app, ["rm", "show"], catch_exceptions=False)
