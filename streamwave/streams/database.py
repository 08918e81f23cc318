"""The database of streams and publishes: SQLite by default, or PostgreSQL (``postgresql+psycopg://…``)."""

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

#: How long a statement waits for a lock of another process, in milliseconds.
BUSY_TIMEOUT_MS = 10_000
#: The number of request threads of the ingest service.
MAX_CONNECTIONS = 64


class Database:
    """A connection pool. Thread-safe; every ``begin`` is a transaction."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, settings: Settings) -> Database:
        """Connect, and create the tables if they do not exist.

        Raises:
            SettingsError: the address is invalid, the database cannot be opened, or its tables are of another version.
        """
        text = settings.database_url.get_secret_value()
        try:
            url = make_url(text)
            engine = create_engine(url, pool_pre_ping=True, connect_args=_connect_arguments(url), **_pool(url))
        except (ArgumentError, ImportError, SQLAlchemyError):
            raise SettingsError(
                "STREAMWAVE_DATABASE_URL is invalid; write it as sqlite:////folder/file.db or "
                "postgresql+psycopg://user:password@host/name"
            ) from None
        database = cls(engine)
        try:
            if engine.dialect.name == "sqlite":
                event.listen(engine, "connect", _set_up_sqlite)
                if url.database and url.database != ":memory:" and not url.database.startswith("file:"):
                    make_folder(Path(url.database).parent)
                    # SQLite gives its auxiliary files the same mode. An existing database keeps its mode.
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
            # Another process may have created a table between our check and our CREATE; the second attempt finds them all.
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
                f"{_shown(self.engine.url)} has tables of version {found}, but this program needs {SCHEMA_VERSION}; use "
                "the matching version of StreamWave, or set STREAMWAVE_DATABASE_URL to another database"
            )

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A transaction: committed at the end, rolled back on an exception. Objects that were read stay usable afterwards."""
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
    # Enough connections that requests waiting for a lock do not block those that only read.
    in_memory = url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")
    return {} if in_memory else {"pool_size": 8, "max_overflow": MAX_CONNECTIONS - 8, "pool_timeout": 5}


def _set_up_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    # In WAL mode readers and the writer do not block each other.
    cursor.execute("PRAGMA journal_mode = WAL")
    # With NORMAL, a power failure could lose the last transactions, and a publish must not be lost.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _shown(url: URL) -> str:
    """Describe the database for a message, without user, password and query."""
    if url.get_backend_name() == "sqlite":
        return f"the database {url.database}"
    return f"the database {url.database} on {url.host or 'this machine'}"


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    original = getattr(error, "orig", None) or error
    return (str(original).strip().splitlines() or [type(original).__name__])[0][:200]
