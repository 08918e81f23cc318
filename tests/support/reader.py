"""A reader that polls a broadcast continuously: reads the manifests and every new object, and records faults."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lxml import etree

from tests.support.player import MPD_NS, attributes, playlist_addresses, playlist_tags, timeline
from tests.support.processes import wait_for

Fetch = Callable[[str], bytes | None]


class Reader:
    """``rounds`` counts the manifests read; ``faults`` are what was torn, missing, short, or went backwards."""

    def __init__(self, fetch: Fetch, expected: Callable[[str], int] | None = None) -> None:
        self._fetch = fetch
        self._expected = expected
        self._seen: set[str] = set()
        self._ends: dict[str, int] = {}
        self.faults: list[str] = []
        self.rounds = 0

    def look(self) -> None:
        """Read the MPD and all playlists once, and every object that they name for the first time."""
        data = self._fetch("manifest.mpd")
        if data is not None:
            self._manifest(data)
            for playlist in sorted({name for name in self._ends if name.endswith(".m3u8")}):
                self._playlist(playlist, self._fetch(playlist))
            self.rounds += 1

    def _manifest(self, data: bytes) -> None:
        try:
            root = etree.fromstring(data)
        except etree.XMLSyntaxError as error:
            self.faults.append(f"manifest.mpd: {error}")
            return
        for adaptation in root.iterfind("mpd:Period/mpd:AdaptationSet", MPD_NS):
            template = adaptation.find("mpd:SegmentTemplate", MPD_NS)
            for one in adaptation.iterfind("mpd:Representation", MPD_NS):
                name = one.attrib["id"]
                own = one.find("mpd:SegmentTemplate", MPD_NS)
                used = template if own is None else own
                assert used is not None
                self._object(used.attrib["initialization"].replace("$RepresentationID$", name))
                times = timeline(used)
                media = used.attrib["media"].replace("$RepresentationID$", name)
                for start, _ in times:
                    self._object(media.replace("$Time$", str(start)))
                self._forwards(f"{name}.mpd", len(times))
                self._ends.setdefault(f"{name}.m3u8", 0)

    def _playlist(self, name: str, data: bytes | None) -> None:
        if data is None:
            self.faults.append(f"{name} is missing")
            return
        text = data.decode()
        if not text.startswith("#EXTM3U") or not text.endswith("\n"):
            self.faults.append(f"{name} is torn")
            return
        for address in playlist_addresses(text):
            self._object(address)
        for value in playlist_tags(text).get("EXT-X-MAP", []):
            self._object(attributes(value)["URI"])
        self._forwards(name, len(playlist_addresses(text)))

    def _forwards(self, name: str, count: int) -> None:
        if count < self._ends.get(name, 0):
            self.faults.append(f"{name} went back from {self._ends[name]} segments to {count}")
        self._ends[name] = count

    def _object(self, name: str) -> None:
        if name in self._seen:
            return
        data = self._fetch(name)
        if data is None:
            self.faults.append(f"{name} is named and missing")
        elif self._expected is not None and len(data) != self._expected(name):
            self.faults.append(f"{name} has {len(data)} bytes instead of {self._expected(name)}")
        self._seen.add(name)

    def looked(self) -> None:
        """Wait until it has looked once more."""
        seen = self.rounds
        wait_for(lambda: self.faults or self.rounds > seen, "a round of the reader")

    @contextmanager
    def looking(self, pause_s: float = 0) -> Iterator[None]:
        """Poll in a tight loop in a thread while the context is open, and once more at its end."""
        stop = threading.Event()

        def run() -> None:
            while not stop.is_set():
                try:
                    self.look()
                except Exception as error:  # a fault of the reader itself
                    self.faults.append(f"the reader failed: {error!r}")
                    return
                time.sleep(pause_s)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(60)
        self.look()
