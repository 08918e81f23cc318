"""The publishes: one row each, in the database, so that a restarted service can still end the right one."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import IntegrityError

from streamwave.model import Frozen
from streamwave.streams.database import Database
from streamwave.streams.tables import PublishRow

#: Ended publishes are deleted after this time, so that the table stays bounded.
KEPT_MS = 30 * 24 * 3600 * 1000
#: Maximum number of ended publishes, because a publisher could reconnect in a loop.
KEPT = 10_000


class Client(Frozen):
    """A connection to the RTMP server: client number ``clientid`` since the server start ``instance``."""

    instance: str
    clientid: str


class Publish(Frozen):
    """A publish. ``broadcast`` and ``session`` are empty until its folder in the spool is known.

    ``accepted`` is set once the publisher has been accepted; ``ended_unix_ms`` is None until the publish is over.
    """

    id: str
    stream: str
    client: Client
    key_hash: str
    address: str
    broadcast: str
    session: str
    started_unix_ms: int
    accepted: bool
    ended_unix_ms: int | None
    end_reason: str

    @property
    def path(self) -> str:
        """Name of its session: ``stream/broadcast/session``."""
        return f"{self.stream}/{self.broadcast}/{self.session}"

    def folder(self, spool: Path) -> Path | None:
        """Its session's folder in the spool, or None if it never had one."""
        return spool / self.stream / self.broadcast / self.session if self.broadcast and self.session else None


class Publishes:
    """The publishes of a database. Every method is one transaction and may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, stream: str, client: Client, key_hash: str, address: str) -> Publish | None:
        """Record a new publish; None if another publish of ``stream`` is open."""
        now = _now()
        row = PublishRow(
            id=secrets.token_hex(16),
            stream=stream,
            instance=client.instance,
            clientid=client.clientid,
            key_hash=key_hash,
            address=address[:64],
            broadcast="",
            session="",
            started_unix_ms=now,
            accepted=False,
            ended_unix_ms=None,
            end_reason="",
        )
        try:
            with self._database.begin() as session:
                session.add(row)
                newest = select(PublishRow.ended_unix_ms).order_by(PublishRow.ended_unix_ms.desc())
                last = session.scalar(newest.where(PublishRow.ended_unix_ms.is_not(None)).offset(KEPT).limit(1)) or 0
                session.execute(delete(PublishRow).where(PublishRow.ended_unix_ms <= max(last, now - KEPT_MS)))
        except IntegrityError:
            return None
        return _publish(row)

    def place(self, publish: Publish, broadcast: str, number: str) -> Publish:
        """Record where in the spool ``publish`` is received."""
        self._set(publish.id, broadcast=broadcast, session=number)
        return publish.model_copy(update={"broadcast": broadcast, "session": number})

    def accept(self, publish: Publish) -> Publish:
        """Record that the publisher has been accepted."""
        self._set(publish.id, accepted=True)
        return publish.model_copy(update={"accepted": True})

    def end(self, publish: Publish, reason: str) -> bool:
        """Record that ``publish`` is over. Returns whether it was open until now."""
        with self._database.begin() as session:
            result = session.execute(
                update(PublishRow)
                .where(PublishRow.id == publish.id, PublishRow.ended_unix_ms.is_(None))
                .values(ended_unix_ms=_now(), end_reason=reason[:200])
            )
            assert isinstance(result, CursorResult)
            return result.rowcount == 1

    def begun(self, stream: str, within_s: int) -> int:
        """How many publishes of ``stream`` have started in the last ``within_s`` seconds."""
        query = select(func.count()).where(
            PublishRow.stream == stream, PublishRow.started_unix_ms > _now() - within_s * 1000
        )
        with self._database.begin() as session:
            return session.scalar(query) or 0

    def open(self) -> list[Publish]:
        """Every open publish, sorted by stream."""
        query = select(PublishRow).where(PublishRow.ended_unix_ms.is_(None)).order_by(PublishRow.stream)
        with self._database.begin() as session:
            return [_publish(row) for row in session.scalars(query)]

    def open_of(self, stream: str) -> Publish | None:
        """The open publish of ``stream``, if there is one."""
        return self._one(PublishRow.stream == stream)

    def open_by(self, client: Client) -> Publish | None:
        """The open publish of this connection, if there is one."""
        return self._one(PublishRow.clientid == client.clientid, PublishRow.instance == client.instance)

    def open_id(self, id: str) -> Publish | None:
        """The publish ``id``, if it is open."""
        return self._one(PublishRow.id == id)

    def _one(self, *conditions: Any) -> Publish | None:
        query = (
            select(PublishRow)
            .where(PublishRow.ended_unix_ms.is_(None), *conditions)
            .order_by(PublishRow.started_unix_ms.desc())
        )
        with self._database.begin() as session:
            row = session.scalars(query).first()
        return _publish(row) if row is not None else None

    def _set(self, id: str, **values: object) -> None:
        with self._database.begin() as session:
            session.execute(update(PublishRow).where(PublishRow.id == id).values(**values))


def _publish(row: PublishRow) -> Publish:
    return Publish(
        id=row.id,
        stream=row.stream,
        client=Client(instance=row.instance, clientid=row.clientid),
        key_hash=row.key_hash,
        address=row.address,
        broadcast=row.broadcast,
        session=row.session,
        started_unix_ms=row.started_unix_ms,
        accepted=row.accepted,
        ended_unix_ms=row.ended_unix_ms,
        end_reason=row.end_reason,
    )


def _now() -> int:
    return time.time_ns() // 1_000_000
