"""A broadcast's thumbnail and its entry in the list of broadcasts, at every output; a failure costs no more than those."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

from streamwave import index, thumbnail
from streamwave.layout import THUMBNAIL
from streamwave.spool.broadcast import BroadcastInfo
from streamwave.targets import Targets


class Listing:
    """``warn`` is told what did not work. Thread-safe: windows that overlap note what they stored at the same time."""

    def __init__(self, info: BroadcastInfo, s3_options: Mapping[str, Any], warn: Callable[[str], None]) -> None:
        self._info = info
        self._s3_options = s3_options
        self._warn = warn
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def begin(self, published: Targets) -> None:
        """List the broadcast as live at the outputs that can be written and do not list it yet."""
        with self._lock:
            new = published.writable - self._told
            self._told |= new
        if new:
            self.update(published, new)

    def update(self, published: Targets, places: Collection[str]) -> None:
        """Bring thumbnail and entry up to date at ``places``, which are addresses of outputs."""
        try:
            lanes = [lane for lane in published.lanes if lane.url in places]
            stores = [lane.publication.store for lane in lanes if lane.publication is not None]
            without = [store for store in stores if not store.exists(THUMBNAIL)]
            if without and (data := thumbnail.first_picture(published.leader.store, published.timeline)) is not None:
                for store in without:
                    store.put(THUMBNAIL, data)
        except Exception as error:
            self._warn(f"there is no thumbnail: {error}")
        try:
            index.update(published, self._info, self._s3_options, places)
        except Exception as error:  # the list is shared with others, whose files may be anything
            self._warn(f"the list of broadcasts was not updated: {error}")
