"""What has been published, or is being: found by name or address, checked, exported, followed."""

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
        findings: A sentence for everything that is wrong; empty if all is well.
        renditions: What each rendition holds, by its name: ``samples`` (pictures, or AAC frames), ``segments``, and
            ``seconds`` as an exact fraction.
        live: Whether the broadcast goes on: what was published up to now was read.
    """

    findings: tuple[str, ...]
    renditions: Mapping[str, RenditionReport]
    live: bool

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@dataclass(frozen=True)
class Exported:
    """A file that ``Broadcast.export`` has written.

    Attributes:
        path: The MP4 file.
        duration_ms: Its length, in milliseconds.
    """

    path: Path
    duration_ms: int


@dataclass(frozen=True)
class Broadcast:
    """A broadcast as it was when it was looked up: one presentation, live or recorded.

    Attributes:
        path: Its place below the output, ``stream/broadcast``; empty for what was transcoded into the output itself.
        title: Its title, or its stream's name.
        state: "live", "recorded", "cut off", "deleted" (while that goes on) or "damaged".
        started_unix_ms: When it began, by the wall clock.
        ended_unix_ms: When it ended; None while it is live.
        duration_ms: What can be watched.
        renditions: Their names in the order of the ladder.
        size_bytes: Size of its media.
        outputs: Folders or addresses of the outputs that hold it, the fullest copy first.
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
        """Read the fullest copy as a player does: everything that its manifests name exists, joins on and decodes.

        Args:
            decode: Decode everything; without it only boxes and times are checked.
            on_progress: Called with the segments that were read, and how many there are.

        Raises:
            OutputError: It cannot be read, or holds no manifest.

        Examples:
            >>> outcome = streamwave.open_broadcast("out/talk").verify()
            >>> outcome.ok, outcome.renditions["small"].samples
            (True, 100)
        """
        where, found = self._copies[0]
        store = where.store(found.path)
        verdict = verify_broadcast(store, decode=decode, progress=on_progress)
        findings = list(verdict.findings)
        if verdict.live_born and found.path.count("/") == 1:  # what was transcoded by itself is in no list
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
        """Write it as one MP4 file, without encoding it again. Of a live one, what is published up to now.

        Args:
            to: The file to write, on this machine.
            rendition: Name of the picture to take; the best without it.
            audio: Take the sound too.
            split: Where the publisher changed the picture's size or rate: write a file for each.
            overwrite: Replace the file if it exists.
            on_progress: Called with the segments that were written, and how many there are.

        Raises:
            UsageError: One file cannot hold it, there is no such rendition, or the file exists.
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
        """What the run that publishes it last said of itself, on the machine that receives it.

        Raises:
            SpoolError: It is over, or not received on this machine.
        """
        spool = self._spool()
        if not spool.folder.is_dir():
            raise SpoolError(
                f"{self.path or self.outputs[0]} has no status on this machine; it is over, or received elsewhere: look at it "
                "where STREAMWAVE_SPOOL_DIR is that of the machine that receives it"
            )
        return read_status(spool.status(), finished=spool.finished)

    def follow(self, *, poll_s: float = 0.5) -> Iterator[Status]:
        """Yield its status whenever that changes, until all of it is published.

        A run that failed may be followed by another one, so "failed" is not the end: stop when you have seen enough.

        Args:
            poll_s: Seconds between two looks.

        Raises:
            SpoolError: As for ``status``, at the first look.

        Examples:
            >>> for status in streamwave.open_broadcast("stage").follow():
            ...     print(status.state, status.chunks, f"{status.lag_ms} ms behind")
            finished 4 0 ms behind
        """
        told = self.status()
        while True:
            yield told
            if told.state == "finished":
                return
            before = told
            while told == before:
                time.sleep(poll_s)
                try:
                    told = self.status()
                except SpoolError:  # it is finished, and cleaned away
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
        name: ``stream/broadcast``, either of the two if that is clear, or the folder or address of one.
        output: Folder or address of all outputs, or several with commas between them; the setting OUTPUT_DIR without it.
        settings: From the environment and ``.env`` without it.

    Raises:
        UsageError: There is none of that name, or several.

    Examples:
        >>> talk = streamwave.open_broadcast("out/talk")
        >>> talk.state, talk.duration_ms, talk.renditions
        ('recorded', 4011, ('small', 'audio'))
        >>> try:
        ...     streamwave.open_broadcast("lecture", output="out")
        ... except streamwave.errors.UsageError as error:
        ...     print(str(error).split(";")[-1].strip())
        streamwave broadcasts ls shows those that are
    """
    settings = settings or Settings.load()
    root = None if output is None else os.fspath(output)
    copies, _ = catalog.named(str(name), root, settings, time.time_ns() // 1_000_000)
    return _broadcast(copies)


def list_broadcasts(
    *, output: str | os.PathLike[str] | None = None, settings: Settings | None = None
) -> tuple[Broadcast, ...]:
    """List all broadcasts, newest first. An output that cannot be read is left out if another one can.

    Args:
        output: As for ``open_broadcast``.
        settings: From the environment and ``.env`` without it.

    Raises:
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
