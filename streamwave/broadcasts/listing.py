"""A broadcast's thumbnail and its entry in the list of broadcasts, at every output; a failure costs no more than those."""

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

#: How long an output that refused the entry of a live broadcast is left alone: each try may take as long as a chunk.
LIVE_AGAIN_S = 10.0
#: The same once nothing else is left to do for the broadcast.
AGAIN_S = 2.0


class Listing:
    """``warn`` is told what did not work, once. Thread-safe: windows that overlap note what they stored at the same time."""

    def __init__(self, info: BroadcastInfo, s3_options: Mapping[str, Any], warn: Callable[[str], None]) -> None:
        self._info = info
        self._s3_options = s3_options
        self._warn = warn
        self._warned: set[str] = set()
        self._told: set[str] = set()
        self._next_at = 0.0
        self._lock = threading.Lock()

    def begin(self, published: Outputs) -> None:
        """List the broadcast as live at the outputs that can be written and do not list it yet."""
        with self._lock:
            new = published.writable - self._told if time.monotonic() >= self._next_at else set()
            self._told |= new
        if new and (refused := self.update(published, new)):
            with self._lock:
                self._told -= refused.keys()
                self._next_at = time.monotonic() + LIVE_AGAIN_S

    def update(self, published: Outputs, places: Collection[str]) -> dict[str, str]:
        """Bring thumbnail and entry up to date at ``places``, which are addresses of outputs.

        Those that refused, and why: for viewers the broadcast is there what it was before.
        """
        try:
            queues = [output for output in published.queues if output.url in places]
            stores = [output.publication.store for output in queues if output.publication is not None]
            without = [store for store in stores if not store.exists(THUMBNAIL)]
            if without and (data := thumbnail.first_picture(published.leader.store, published.timeline)) is not None:
                for store in without:
                    store.put(THUMBNAIL, data)
        except Exception as error:
            self._say(f"there is no thumbnail: {error}")
        refused = {}
        for url in places:
            try:
                index.update(published, self._info, self._s3_options, {url})
            except Exception as error:  # the list is shared with others, whose files may be anything
                self._say(f"the list of broadcasts was not updated: {error}")
                if isinstance(error, OutputError):
                    refused[url] = str(error)
        return refused

    def try_again(
        self, published: Outputs, refused: Mapping[str, str], meanwhile: Callable[[], None]
    ) -> dict[str, str]:
        """Update those that ``refused``, for as long as outputs of an ended broadcast are waited for; those that still do.

        ``meanwhile`` is called every few seconds.
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
