"""What is known of a live broadcast that its manifests say: DASH's ProgramInformation, HLS's session data."""

from __future__ import annotations

from contextlib import suppress

from streamwave.spool.broadcast import BroadcastSpool
from streamwave.spool.info import BroadcastInfo
from streamwave.spool.journal import OpenRecord
from streamwave.spool.remote.objects import METADATA
from streamwave.untrusted import parse_json


class Program:
    """Title and properties of one broadcast, of which later sources win: what is received, its description, its publisher."""

    def __init__(self, spool: BroadcastSpool, info: BroadcastInfo) -> None:
        self._spool, self._info = spool, info
        self._received: dict[str, str] = {}
        self._said: dict[str, object] = {}

    def receive(self, opened: OpenRecord) -> None:
        """A session begins with these properties."""
        self._received = opened.properties()

    def now(self) -> dict[str, str]:
        """All of it as of now; what cannot be read is as it was before."""
        known = self._received | {"title": self._info.title or self._info.stream} | self._info.info
        with suppress(OSError, ValueError):
            found = parse_json((self._spool.folder / METADATA).read_bytes())
            if isinstance(found, dict):
                self._said = found
        return known | {str(name): str(value) for name, value in self._said.items()}
