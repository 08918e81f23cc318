"""End a broadcast whose run is gone: turn what was published into a recording, or discard the broadcast."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from streamwave.broadcasts import index
from streamwave.config.settings import Settings
from streamwave.errors import OutputError, UsageError
from streamwave.publish.opening import open_publication
from streamwave.spool.broadcast import BroadcastSpool, broadcasts
from streamwave.spool.journal import writer_alive
from streamwave.storage.outputs import outputs, outputs_above
from streamwave.util.digest import fingerprint


def finish_cut_off(spool: BroadcastSpool, settings: Settings) -> None:
    """Turn what a cancelled run has published into a recording, and discard the chunks not yet published.

    Raises:
        StreamWaveError: the output cannot be written, or it is empty although something was published (an unmounted disk).
    """
    spool.close()
    info = spool.info()
    token = fingerprint(info.output, time.time_ns())
    base_urls = settings.base_urls_of(f"{info.stream}/{info.broadcast}")
    published = open_publication(
        outputs(info.output), settings.s3_options, manifests=True, token=token, base_urls=base_urls
    )
    try:
        header = published.ledger.header
        if header is not None and published.ledger.periods:
            published.begin(header)
            published.finish()
            index.update(published, info, settings.s3_options)
        elif spool.status().get("chunks") and (away := _away(info.output)):
            raise OutputError(
                f"{away} lacks the published part of {info.stream}/{info.broadcast}; restore it (is the disk "
                f"mounted?), or discard it with: streamwave broadcasts rm {info.stream}/{info.broadcast}"
            )
    finally:
        published.close()
    spool.mark_finished()
    for left in (*spool.sessions(), spool.folder / "work"):
        shutil.rmtree(left, ignore_errors=True)


def _away(output: str) -> str | None:
    """The root of a local output that is missing or empty, like the mount point of an unmounted disk; None if there is none."""
    for target in outputs(outputs_above(output, 2)):
        folder = Path(target.url)
        if target.is_local and not (folder.is_dir() and any(folder.iterdir())):
            return target.url
    return None


def unpublished(spool_dir: Path, name: str) -> BroadcastSpool | None:
    """The unfinished broadcast ``name`` (STREAM/BROADCAST, or BROADCAST alone) in the spool; None if there is none.

    Raises:
        UsageError: the broadcast is being received.
    """
    for spool in broadcasts(spool_dir):
        if name.strip("/") in (f"{spool.stream}/{spool.broadcast}", spool.broadcast) and not spool.finished:
            if any(writer_alive(session) for session in spool.sessions()):
                raise UsageError(f"{spool.stream}/{spool.broadcast} is live: end it first; nothing was deleted")
            return spool
    return None


def give_up(spool: BroadcastSpool) -> None:
    """Discard a broadcast: mark it as finished, so that no run publishes it, and delete its received chunks.

    If a run is still waiting for an output, the chunks stay until the janitor removes them after that run has ended.
    """
    spool.close()
    spool.mark_finished()
    if not spool.run_alive():
        for session in spool.sessions():
            shutil.rmtree(session, ignore_errors=True)
