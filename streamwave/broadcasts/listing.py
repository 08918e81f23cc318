"""Writes a broadcast's thumbnail, its entry and the index at every output. A failure here never affects the broadcast."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from streamwave.broadcasts import index, thumbnail
from streamwave.errors import OutputError
from streamwave.layout import THUMBNAIL
from streamwave.publish.outputs import Outputs
from streamwave.spool.broadcast import BroadcastInfo

#: Back-off after an output refused the entry of a live broadcast, because each try may take as long as a chunk.
LIVE_AGAIN_S = 10.0
#: The back-off once there is nothing else to do for the broadcast.
AGAIN_S = 2.0


class Listing:
    """Keeps the lists of all outputs up to date. ``warn`` is called once per distinct problem.

    Thread-safe, because windows that overlap record their chunks concurrently.
    """

    def __init__(self, info: BroadcastInfo, s3_options: Mapping[str, Any], warn: Callable[[str], None]) -> None:
        self._info = info
        self._s3_options = s3_options
        self._warn = warn
        self._warned: set[str] = set()
        self._listed: set[str] = set()
        self._next_at = 0.0
        self._lock = threading.Lock()

    def begin(self, published: Outputs) -> None:
        """List the broadcast as live at each writable output that does not list it yet."""
        with self._lock:
            new = published.writable - self._listed if time.monotonic() >= self._next_at else set()
            self._listed |= new
        if new and (refused := self.update(published, new)):
            with self._lock:
                self._listed -= refused.keys()
                self._next_at = time.monotonic() + LIVE_AGAIN_S

    def update(self, published: Outputs, places: Collection[str]) -> dict[str, str]:
        """Write thumbnail, entry and index at ``places``, which are URLs of outputs.

        Returns the error of each output that refused, by URL; there viewers still see the previous entry.
        """
        try:
            queues = [output for output in published.queues if output.url in places]
            stores = [output.publication.store for output in queues if output.publication is not None]
            without = [store for store in stores if not store.exists(THUMBNAIL)]
            if without and (data := thumbnail.first_picture(published.leader.store, published.timeline)) is not None:
                for store in without:
                    store.put(THUMBNAIL, data)
        except Exception as error:
            self._say(f"no thumbnail was made: {error}")
        refused = {}
        for url in places:
            try:
                index.update(published, self._info, self._s3_options, {url})
            except Exception as error:  # the index includes files of others, which may hold anything
                self._say(f"the list of broadcasts was not updated: {error}")
                if isinstance(error, OutputError):
                    refused[url] = str(error)
        return refused

    def try_again(
        self, published: Outputs, refused: Mapping[str, str], meanwhile: Callable[[], None]
    ) -> dict[str, str]:
        """Retry the outputs that ``refused``, for as long as the run waits for outputs, and return those that still refuse.

        ``meanwhile`` is called before each retry.
        """
        left = dict(refused)
        while left and not published.completion.hurried and published.completion.patience_left_s > 0:
            published.pause(AGAIN_S)
            meanwhile()
            left = self.update(published, left)
        return left

    def _say(self, text: str) -> None:
        with self._lock:
            new = text not in self._warned
            self._warned.add(text)
        if new:
            self._warn(text)
