"""Descriptive metadata of a live broadcast for its manifests: DASH's ProgramInformation, HLS's session data."""

from __future__ import annotations

from contextlib import suppress

from streamwave.spool.broadcast import BroadcastSpool
from streamwave.spool.info import BroadcastInfo
from streamwave.spool.journal import OpenRecord
from streamwave.spool.remote.objects import METADATA
from streamwave.untrusted import parse_json


class Program:
    """Title and properties of one broadcast. In increasing priority they come from the received stream, the broadcast's
    description, and the publisher's metadata.
    """

    def __init__(self, spool: BroadcastSpool, info: BroadcastInfo) -> None:
        self._spool, self._info = spool, info
        self._received: dict[str, str] = {}
        self._metadata: dict[str, object] = {}

    def receive(self, opened: OpenRecord) -> None:
        """Record the properties of a new session's stream."""
        self._received = opened.properties()

    def now(self) -> dict[str, str]:
        """The current properties; metadata that cannot be read keeps its last value."""
        known = self._received | {"title": self._info.title or self._info.stream} | self._info.info
        with suppress(OSError, ValueError):
            found = parse_json((self._spool.folder / METADATA).read_bytes())
            if isinstance(found, dict):
                self._metadata = found
        return known | {str(name): str(value) for name, value in self._metadata.items()}
