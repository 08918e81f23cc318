"""Live and recorded broadcasts: look them up by name or address, verify, export and follow them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from streamwave.api.status import Status, read_status
from streamwave.broadcasts import catalog
from streamwave.broadcasts.check import check_entry
from streamwave.broadcasts.export_files import export_files
from streamwave.config.settings import Settings
from streamwave.errors import OutputError, SpoolError
from streamwave.spool.broadcast import BroadcastSpool
from streamwave.verify import RenditionReport, verify_broadcast


@dataclass(frozen=True)
class Verification:
    """The outcome of ``Broadcast.verify``.

    Attributes:
        findings: One sentence per problem; empty if there is none.
        renditions: What each rendition contains, by its name: ``samples`` (video frames or AAC frames), ``segments``, and
            ``seconds`` as an exact fraction.
        live: Whether the broadcast is live, so that only the part published up to now was checked.
    """

    findings: tuple[str, ...]
    renditions: Mapping[str, RenditionReport]
    live: bool

    @property
    def ok(self) -> bool:
        """Whether there are no findings."""
        return not self.findings


@dataclass(frozen=True)
class Exported:
    """A file written by ``Broadcast.export``.

    Attributes:
        path: The MP4 file.
        duration_ms: Its length, in milliseconds.
    """

    path: Path
    duration_ms: int


@dataclass(frozen=True)
class Broadcast:
    """A live or recorded broadcast, as it was when it was looked up.

    Attributes:
        path: Its path below the output, ``stream/broadcast``; empty for a file transcoded into the root of the output.
        title: Its title, or else the name of its stream.
        state: "live", "recorded", "cut off", "deleted" (deletion is in progress) or "damaged".
        started_unix_ms: When it began, by the wall clock.
        ended_unix_ms: When it ended; None while it is live.
        duration_ms: Length of what can be watched, in milliseconds.
        renditions: Names of the renditions, in the order of the ladder.
        size_bytes: Size of its media.
        outputs: Folders or addresses of the outputs that hold it, the most complete copy first.
    """

    path: str
    title: str
    state: str
    started_unix_ms: int
    ended_unix_ms: int | None
    duration_ms: int
    renditions: tuple[str, ...]
    size_bytes: int
    outputs: tuple[str, ...]
    _copies: tuple[catalog.Copy, ...] = field(repr=False, compare=False)

    def verify(
        self, *, decode: bool = True, on_progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Verification:
        """Read the most complete copy as a player does: check that every segment exists, is contiguous and decodes.

        Args:
            decode: Decode all media; if false, check only boxes and timestamps.
            on_progress: Called with the number of segments read so far and their total.

        Raises:
            OutputError: The copy cannot be read, or has no manifest.

        Examples:
            >>> outcome = streamwave.open_broadcast("out/talk").verify()
            >>> outcome.ok, outcome.renditions["small"].samples
            (True, 100)
        """
        where, found = self._copies[0]
        store = where.store(found.path)
        verdict = verify_broadcast(store, decode=decode, progress=on_progress)
        findings = list(verdict.findings)
        if verdict.live_born and found.path.count("/") == 1:  # only live broadcasts are indexed
            findings += check_entry(where.store(), store, found.path, live=verdict.live)
        return Verification(tuple(findings), verdict.renditions, verdict.live)

    def export(
        self,
        to: str | os.PathLike[str],
        *,
        rendition: str | None = None,
        audio: bool = True,
        split: bool = False,
        overwrite: bool = False,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> tuple[Exported, ...]:
        """Write the broadcast to one MP4 file without re-encoding. A live broadcast is exported up to now.

        Args:
            to: The local file to write.
            rendition: Name of the video rendition; default: the best.
            audio: Include the audio.
            split: If the publisher changed the frame size or rate, write one file for each format.
            overwrite: Replace the file if it exists.
            on_progress: Called with the number of segments written so far and their total.

        Raises:
            UsageError: The formats differ and ``split`` is false, there is no such rendition, or ``to`` exists
                or is no place for a file.
            OutputError: An object is missing, or the file cannot be written.

        Examples:
            >>> for file in streamwave.open_broadcast("out/talk").export("talk-small.mp4"):
            ...     print(file.path, file.duration_ms)
            talk-small.mp4 4011
        """
        where, found = self._copies[0]
        written = export_files(where.store(found.path), Path(to), rendition, audio, split, overwrite, on_progress)
        return tuple(Exported(path, length_ms) for path, length_ms in written)

    def status(self) -> Status:
        """The latest status of the run that publishes the broadcast. Available on the machine that receives it.

        Raises:
            SpoolError: The broadcast is over, or is not received on this machine.
        """
        spool = self._spool()
        if not spool.folder.is_dir():
            raise SpoolError(
                f"{self.path or self.outputs[0]} has no status here; it is over, or received on another machine: ask "
                "there, with the same STREAMWAVE_SPOOL_DIR"
            )
        return read_status(spool.status(), finished=spool.finished)

    def follow(self, *, poll_s: float = 0.5) -> Iterator[Status]:
        """Yield the status whenever it changes, until the broadcast is completely published.

        A failed run may be followed by another one, so iteration does not end at "failed".

        Args:
            poll_s: Polling interval in seconds.

        Raises:
            SpoolError: As for ``status``, at the first poll.

        Examples:
            >>> for status in streamwave.open_broadcast("stage").follow():
            ...     print(status.state, status.chunks, f"{status.lag_ms} ms behind")
            finished 4 0 ms behind
        """
        status = self.status()
        while True:
            yield status
            if status.state == "finished":
                return
            before = status
            while status == before:
                time.sleep(poll_s)
                try:
                    status = self.status()
                except SpoolError:  # finished, and its spool has been removed
                    return

    def _spool(self) -> BroadcastSpool:
        return BroadcastSpool(self._copies[0][0].spool_dir / (self.path or "-/-"))


def open_broadcast(
    name: str | os.PathLike[str],
    *,
    output: str | os.PathLike[str] | None = None,
    settings: Settings | None = None,
) -> Broadcast:
    """Look up a broadcast, live or recorded.

    Args:
        name: ``stream/broadcast``; either part alone if unambiguous; or the folder or address of a broadcast.
        output: Folder or address to look in; commas separate several. Default: the setting OUTPUT_DIR.
        settings: Default: read from the environment and ``.env``.

    Raises:
        UsageError: No broadcast has that name, or several have, or it is malformed.

    Examples:
        >>> talk = streamwave.open_broadcast("out/talk")
        >>> talk.state, talk.duration_ms, talk.renditions
        ('recorded', 4011, ('small', 'audio'))
        >>> try:
        ...     streamwave.open_broadcast("lecture", output="out")
        ... except streamwave.errors.UsageError as error:
        ...     print(str(error).split(";")[-1].strip())
        list_broadcasts() shows which there are
    """
    settings = settings or Settings.load()
    root = None if output is None else os.fspath(output)
    copies, _ = catalog.named(str(name), root, settings, time.time_ns() // 1_000_000)
    return _broadcast(copies)


def list_broadcasts(
    *, output: str | os.PathLike[str] | None = None, settings: Settings | None = None
) -> tuple[Broadcast, ...]:
    """List all broadcasts, newest first. Outputs that cannot be read are skipped, unless none can be read.

    Args:
        output: As for ``open_broadcast``.
        settings: Default: read from the environment and ``.env``.

    Raises:
        UsageError: ``output`` is malformed.
        OutputError: No output can be read.

    Examples:
        >>> sorted((one.path.split("/")[0], one.state) for one in streamwave.list_broadcasts(output="out"))
        [('stage', 'recorded'), ('talk', 'recorded')]
    """
    settings = settings or Settings.load()
    places = catalog.outputs(settings, None if output is None else os.fspath(output))
    found, faults = catalog.everywhere(places, time.time_ns() // 1_000_000)
    if len(faults) == len(places):
        raise OutputError("; ".join(faults))
    return tuple(map(_broadcast, found))


def _broadcast(copies: list[catalog.Copy]) -> Broadcast:
    _, found = copies[0]
    return Broadcast(
        path=found.path,
        title=found.title,
        state=found.state.value,
        started_unix_ms=found.started_unix_ms,
        ended_unix_ms=found.ended_unix_ms,
        duration_ms=found.duration_ms,
        renditions=found.renditions,
        size_bytes=found.size_bytes,
        outputs=tuple(where.url for where, _ in copies),
        _copies=tuple(copies),
    )
