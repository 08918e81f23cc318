"""The end of a broadcast without its run: what was published becomes the recording, or it is given up as a whole."""

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
    """Make a recording of what a run that was cancelled has published; the rest is given up.

    Raises:
        StreamWaveError: the output cannot be written, or what was published is not there, nor anything else.
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
                f"{away} does not hold what was published of {info.stream}/{info.broadcast}; bring it back (is its disk "
                f"mounted?), or give it up with: streamwave broadcasts rm {info.stream}/{info.broadcast}"
            )
    finally:
        published.close()
    spool.mark_finished()
    for left in (*spool.sessions(), spool.folder / "work"):
        shutil.rmtree(left, ignore_errors=True)


def _away(output: str) -> str | None:
    """The folder, two above that of the broadcast, that looks like that of a disk which is not mounted; None if none does."""
    for target in outputs(outputs_above(output, 2)):
        folder = Path(target.url)
        if target.is_local and not (folder.is_dir() and any(folder.iterdir())):
            return target.url
    return None


def unpublished(spool_dir: Path, name: str) -> BroadcastSpool | None:
    """The broadcast in the spool that ``name`` (stream/broadcast, or the latter) means and that is not over; None if none.

    Raises:
        UsageError: it is being received.
    """
    for spool in broadcasts(spool_dir):
        if name.strip("/") in (f"{spool.stream}/{spool.broadcast}", spool.broadcast) and not spool.finished:
            if any(writer_alive(session) for session in spool.sessions()):
                raise UsageError(f"{spool.stream}/{spool.broadcast} is live: end it first; nothing was deleted")
            return spool
    return None


def give_up(spool: BroadcastSpool) -> None:
    """Have no run publish it any more, and delete what was received of it.

    A run that waits for an output at this moment ends when its patience does; what it uses goes with the next cleaning.
    """
    spool.close()
    spool.mark_finished()
    if not spool.run_alive():
        for session in spool.sessions():
            shutil.rmtree(session, ignore_errors=True)
