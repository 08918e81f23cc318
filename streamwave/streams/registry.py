"""The registry of streams: add, list, find by key, rotate the key, enable, disable, remove."""

from __future__ import annotations

import time

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from streamwave.errors import UsageError
from streamwave.model import Frozen
from streamwave.sources.address import checked_title, is_stream_name
from streamwave.streams.database import Database
from streamwave.streams.keys import hash_key, new_key, same_hash
from streamwave.streams.tables import StreamRow


class StreamExistsError(UsageError):
    """A stream of that name exists already."""


class UnknownStreamError(UsageError):
    """There is no stream of that name."""


class Stream(Frozen):
    """A stream, without its key, which only the publisher knows."""

    name: str
    title: str
    enabled: bool
    created_unix_ms: int


class Registry:
    """The streams of a database. Every method is one transaction and may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, title: str = "") -> tuple[Stream, str]:
        """Add a stream. Returns it and its key, which cannot be read again later.

        Raises:
            UsageError: the name or the title is not allowed.
            StreamExistsError: the name is taken.
        """
        check_name(name)
        key = new_key()
        row = StreamRow(
            name=name,
            title=checked_title(title),
            key_hash=hash_key(key),
            enabled=True,
            created_unix_ms=time.time_ns() // 1_000_000,
        )
        try:
            with self._database.begin() as session:
                session.add(row)
        except IntegrityError:
            raise StreamExistsError(
                f"there is already a stream {name}; choose another name, or rotate its key"
            ) from None
        return _stream(row), key

    def all(self) -> list[Stream]:
        """Every stream, sorted by name."""
        with self._database.begin() as session:
            return [_stream(row) for row in session.scalars(select(StreamRow).order_by(StreamRow.name))]

    def get(self, name: str) -> Stream:
        """The stream ``name``.

        Raises:
            UnknownStreamError: there is none.
        """
        with self._database.begin() as session:
            return _stream(_existing(session, name))

    def find(self, key_hash: str) -> Stream | None:
        """The stream whose key has this hash, whether it is enabled or not."""
        with self._database.begin() as session:
            row = session.scalar(select(StreamRow).where(StreamRow.key_hash == key_hash))
        return _stream(row) if row is not None and same_hash(row.key_hash, key_hash) else None

    def rotate_key(self, name: str) -> str:
        """Give ``name`` a new key and return it. The old key is invalid at once; a publisher that uses it is disconnected.

        Raises:
            UnknownStreamError: there is no such stream.
        """
        key = new_key()
        with self._database.begin() as session:
            _existing(session, name).key_hash = hash_key(key)
        return key

    def change(self, name: str, *, enabled: bool | None = None, title: str | None = None) -> Stream:
        """Enable or disable ``name``, or change its title for later broadcasts.

        Raises:
            UnknownStreamError: there is no such stream.
            UsageError: the title is not allowed.
        """
        with self._database.begin() as session:
            row = _existing(session, name)
            if enabled is not None:
                row.enabled = enabled
            if title is not None:
                row.title = checked_title(title)
            return _stream(row)

    def remove(self, name: str) -> None:
        """Delete the stream and its key. Its recordings are kept.

        Raises:
            UnknownStreamError: there is no such stream.
        """
        with self._database.begin() as session:
            session.delete(_existing(session, name))


def check_name(name: str) -> None:
    """Raise UsageError unless ``name`` is a valid name for a stream."""
    if not is_stream_name(name):
        shown = repr(name[:70])
        raise UsageError(
            f"{shown} is not a valid stream name; use a-z, 0-9, - and _, at most 64 characters, not beginning with - or _"
        )


def _existing(session: Session, name: str) -> StreamRow:
    # Invalid names are not looked up, because PostgreSQL raises an error for some of them, such as those with a NUL.
    row = session.get(StreamRow, name) if is_stream_name(name) else None
    if row is None:
        raise UnknownStreamError(f"there is no stream {name[:64]!r}; see streamwave streams ls")
    return row


def _stream(row: StreamRow) -> Stream:
    return Stream(name=row.name, title=row.title, enabled=row.enabled, created_unix_ms=row.created_unix_ms)
