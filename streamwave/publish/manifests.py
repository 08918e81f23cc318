"""Write the manifests of one broadcast to one store, at most once per interval."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from streamwave.manifest.ledger import Ledger
from streamwave.manifest.memo import Memo
from streamwave.manifest.render import render_all
from streamwave.publish.puts import Puts
from streamwave.storage.location import BaseUrl
from streamwave.storage.store import Store


class Manifests:
    """The manifests at ``store``, written by ``puts``. Not thread-safe: the publication's lock guards it.

    ``on_time`` is called from a timer's thread, without that lock, when manifests have to be written that were requested
    before the interval was over.
    """

    def __init__(
        self,
        store: Store,
        puts: Puts,
        on_time: Callable[[], None],
        *,
        interval_s: float,
        utc_timing_url: str | None,
        base_urls: Sequence[BaseUrl],
    ) -> None:
        self._store, self._puts, self._on_time = store, puts, on_time
        self._interval_s, self._utc_timing_url, self._base_urls = interval_s, utc_timing_url, base_urls
        self._timer: threading.Timer | None = None
        self._last_at = -interval_s
        self._known_playlists: set[str] = set()
        self._memo = Memo()
        #: Closing times of the chunks that the next manifest names for the first time.
        self._closed_unix_ms: list[int] = []
        #: Something was published after they were last written.
        self.due = False
        self._newest: dict[str, bytes] = {}
        #: For the last chunks: milliseconds from the arrival of the last frame to the manifest that names it.
        self.latencies_ms: deque[int] = deque(maxlen=300)

    def add(self, closed_unix_ms: int) -> None:
        """Note that the next manifest names another chunk, whose last frame arrived at ``closed_unix_ms``."""
        self._closed_unix_ms.append(closed_unix_ms)

    def forget(self) -> None:
        """Drop what was rendered from the ledger so far, because another ledger takes its place."""
        self._memo = Memo()

    def request(self) -> bool:
        """Ask for new manifests; whether they may be written now. If not, ``on_time`` is called at the end of the interval."""
        self.due = True
        rest_s = self._last_at + self._interval_s - time.monotonic()
        if rest_s > 0 and self._timer is None:
            self.schedule(rest_s)
        return rest_s <= 0

    def schedule(self, after_s: float) -> None:
        """Have ``on_time`` called after ``after_s`` seconds."""
        self._timer = threading.Timer(after_s, self._on_time)
        self._timer.daemon = True
        self._timer.start()

    def on_schedule(self) -> bool:
        """Call first in ``on_time``; whether manifests are still due."""
        self._timer = None
        return self.due

    def cancel(self) -> None:
        """Cancel the scheduled call of ``on_time``, if there is one."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def write(self, ledger: Ledger) -> None:
        """Write the manifests of ``ledger`` now.

        Raises:
            OutputError: the store refused a request.
        """
        playlists, others = render_all(
            ledger, now_unix_ms=time.time_ns() // 1_000_000, utc_timing_url=self._utc_timing_url,
            base_urls=self._base_urls, memo=self._memo,
        )  # fmt: skip
        self._newest = playlists | others
        if self._store.remote and playlists.keys() <= self._known_playlists:
            # The master playlist and the MPD name nothing new, so all of them can be written at the same time.
            self._puts.put(self._newest)
        else:
            self._puts.put(playlists)
            self._puts.put(others)  # these name playlists and segments, but not each other
            self._known_playlists = set(playlists)
        self.due, self._last_at = False, time.monotonic()
        self.cancel()
        now_unix_ms = time.time_ns() // 1_000_000
        self.latencies_ms.extend(now_unix_ms - closed for closed in self._closed_unix_ms)
        self._closed_unix_ms = []

    def withdraw(self) -> None:
        """Delete the newest manifests where they are still in the store.

        When a broadcast is deleted while they are being written, they arrive after everything else has gone.

        Raises:
            OutputError: the store refused a request.
        """
        for name, data in self._newest.items():
            if self._store.get(name) == data:
                self._store.delete(name)
