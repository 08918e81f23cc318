"""The database tables. Times are integers in Unix milliseconds."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

#: Increased with every change of these tables; see ``database``.
SCHEMA_VERSION = 1


class Base(DeclarativeBase):
    """Base class of the tables."""


class SchemaRow(Base):
    """One row: the version of the tables."""

    __tablename__ = "streamwave_schema"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version: Mapped[int]


class StreamRow(Base):
    """A stream."""

    __tablename__ = "streams"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    title: Mapped[str] = mapped_column(String(200), default="")
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    enabled: Mapped[bool] = mapped_column(default=True)
    created_unix_ms: Mapped[int] = mapped_column(BigInteger)


class PublishRow(Base):
    """One publish. It outlives its stream's row, because a publisher of a removed stream still has to be recognized when it
    disconnects.

    ``instance`` identifies the start of the RTMP server, because ``clientid`` begins at 1 with every start.
    """

    __tablename__ = "publishes"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    stream: Mapped[str] = mapped_column(String(64))
    instance: Mapped[str] = mapped_column(String(64))
    clientid: Mapped[str] = mapped_column(String(64))
    key_hash: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(64))
    broadcast: Mapped[str] = mapped_column(String(64), default="")
    session: Mapped[str] = mapped_column(String(16), default="")
    started_unix_ms: Mapped[int] = mapped_column(BigInteger)
    accepted: Mapped[bool] = mapped_column(default=False)
    ended_unix_ms: Mapped[int | None] = mapped_column(BigInteger, default=None)
    end_reason: Mapped[str] = mapped_column(String(200), default="")


# The database itself refuses a second publisher, even if two processes ask concurrently.
Index(
    "one_open_publish",
    PublishRow.stream,
    unique=True,
    sqlite_where=PublishRow.ended_unix_ms.is_(None),
    postgresql_where=PublishRow.ended_unix_ms.is_(None),
)
Index("publish_of_client", PublishRow.clientid, PublishRow.instance)
