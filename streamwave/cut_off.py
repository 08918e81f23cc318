"""The end of a broadcast whose run was cancelled: what it has published becomes the recording."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable

from streamwave import index
from streamwave.job import fingerprint
from streamwave.publish import Publication
from streamwave.settings import Settings
from streamwave.spool.broadcast import BroadcastSpool
from streamwave.storage.target import Target, outputs
from streamwave.targets import Targets


def finish_cut_off(spool: BroadcastSpool, settings: Settings) -> None:
    """Make a recording of what was published; the rest is given up.

    Raises:
        StreamWaveError: the output cannot be written.
    """
    spool.close()
    info = spool.info()
    token = fingerprint(info.output, time.time_ns())
    base_urls = settings.base_urls_of(f"{info.stream}/{info.broadcast}")

    def at(target: Target) -> tuple[str, Callable[[], Publication]]:
        store_at = functools.partial(target.open, settings.s3_options)
        return target.url, lambda: Publication(store_at(), manifests=True, token=token, base_urls=base_urls)

    published = Targets([at(target) for target in outputs(info.output)], patience_s=0)
    try:
        header = published.ledger.header
        if header is not None and published.ledger.periods:
            published.begin(header)
            published.finish()
            index.update(published, info, settings.s3_options)
    finally:
        published.close()
    spool.mark_finished()
    for left in (*spool.sessions(), spool.folder / "work"):
        shutil.rmtree(left, ignore_errors=True)
