"""The database of streams and publishes: SQLite by default, PostgreSQL (``postgresql+psycopg://…``) by address."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine, event, make_url, select
from sqlalchemy.engine import Engine
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from streamwave.config.settings import Settings
from streamwave.errors import SettingsError
from streamwave.streams.tables import SCHEMA_VERSION, Base, SchemaRow
from streamwave.util.private import make_folder

#: How long a statement waits for another process that is writing.
BUSY_TIMEOUT_MS = 10_000
#: As many as the ingest service has threads for calls.
MAX_CONNECTIONS = 64


class Database:
    """Open connections. Thread-safe; every call of ``begin`` is a transaction."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, settings: Settings) -> Database:
        """Connect, and make the tables where there are none.

        Raises:
            SettingsError: the address cannot be used, or the tables are those of another version.
        """
        text = settings.database_url.get_secret_value()
        try:
            url = make_url(text)
            engine = create_engine(url, pool_pre_ping=True, connect_args=_connect_arguments(url), **_pool(url))
        except (ArgumentError, ImportError, SQLAlchemyError):
            raise SettingsError(
                "STREAMWAVE_DATABASE_URL cannot be used; write it as sqlite:////folder/file.db or "
                "postgresql+psycopg://user:password@host/name"
            ) from None
        database = cls(engine)
        try:
            if engine.dialect.name == "sqlite":
                event.listen(engine, "connect", _set_up_sqlite)
                if url.database and url.database != ":memory:" and not url.database.startswith("file:"):
                    make_folder(Path(url.database).parent)
                    # SQLite's own files beside it get its mode. One that is there keeps what its owner gave it.
                    os.close(os.open(url.database, os.O_RDWR | os.O_CREAT, 0o600))
            database._make_tables()
        except (SQLAlchemyError, OSError) as error:
            engine.dispose()
            raise SettingsError(
                f"{_shown(url)} cannot be opened ({_cause(error)}); see STREAMWAVE_DATABASE_URL"
            ) from None
        except SettingsError:
            engine.dispose()
            raise
        return database

    def _make_tables(self) -> None:
        try:
            Base.metadata.create_all(self.engine)
        except DBAPIError:
            # Another process may have made a table between our look and our CREATE; then all is there now.
            Base.metadata.create_all(self.engine)
        try:
            with self.begin() as session:
                if session.scalar(select(SchemaRow.version)) is None:
                    session.add(SchemaRow(id=1, version=SCHEMA_VERSION))
        except IntegrityError:
            pass  # written by that other process
        with self.begin() as session:
            found = session.scalar(select(SchemaRow.version))
        if found != SCHEMA_VERSION:
            raise SettingsError(
                f"{_shown(self.engine.url)} has tables of version {found}, this program needs {SCHEMA_VERSION}; use "
                "the program that made them, or name another database in STREAMWAVE_DATABASE_URL"
            )

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A transaction: committed at the end, rolled back by an exception. What was read stays readable."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _connect_arguments(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"timeout": BUSY_TIMEOUT_MS / 1000}
    return {"connect_timeout": 5}


def _pool(url: URL) -> dict[str, Any]:
    # Calls that wait for a lock must not use up what those need that only read.
    in_memory = url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")
    return {} if in_memory else {"pool_size": 8, "max_overflow": MAX_CONNECTIONS - 8, "pool_timeout": 5}


def _set_up_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    # Readers and a writer do not wait for each other.
    cursor.execute("PRAGMA journal_mode = WAL")
    # WAL with NORMAL can lose the last transactions in a power failure; a publish must not be forgotten.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _shown(url: URL) -> str:
    """The database for a message: without user, password and query."""
    if url.get_backend_name() == "sqlite":
        return f"the database {url.database}"
    return f"the database {url.database} on {url.host or 'this machine'}"


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    original = getattr(error, "orig", None) or error
    return (str(original).strip().splitlines() or [type(original).__name__])[0][:200]
