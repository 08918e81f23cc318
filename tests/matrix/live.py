"""Runs live cells: publishes FLV tags unchanged in real time, through nginx-rtmp to the players."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from streamwave.manifest.ledger import Ledger
from streamwave.spool.broadcast import BroadcastSpool
from streamwave.storage.store import open_store
from tests.e2e.browser import Player, PlayerHarness
from tests.matrix.cell import Cell
from tests.matrix.flv import FILE_HEADER, Tag, read_tags, tag_bytes
from tests.matrix.measure import Outcome
from tests.matrix.source import Recipe
from tests.support.live import Installation
from tests.support.media import ffmpeg_path

#: A longer step of the timestamps is a jump of the clock instead of a pause.
JUMP_MS = 10_000
#: How long the publisher is disconnected before it reconnects with its next source.
AWAY_S = 0.5
PLAYERS: tuple[tuple[Player, str], ...] = (
    ("dashjs", "manifest.mpd"),
    ("hlsjs", "master.m3u8"),
    ("shaka", "manifest.mpd"),
)
PLAY_LIMIT_S = 120


@dataclass(frozen=True)
class LiveCell:
    """A cell whose recipe (FLV) is published; ``again`` are the recipes that the publisher sends after reconnecting."""

    cell: Cell
    again: tuple[Recipe, ...] = ()
    short: bool = False

    @property
    def stream(self) -> str:
        """The name of its stream."""
        return re.sub("[^a-z0-9]+", "-", self.cell.name.lower()).strip("-")


def slowly(tags: Iterable[Tag], from_ms: int, go_on: threading.Event) -> Iterator[Tag]:
    """``tags``, from ``from_ms`` on at a fraction of their pace until ``go_on`` is set: those who are to watch may be late."""
    for tag in tags:
        if tag.ms >= from_ms:
            go_on.wait(0.2)
        yield tag


def send(tags: Iterable[Tag], address: str) -> None:
    """Publish ``tags`` in real time, even if their timestamps jump, and disconnect."""
    command = [ffmpeg_path(), "-nostats", "-v", "error", "-probesize", "32", "-analyzeduration", "0"]
    command += ["-f", "data", "-i", "pipe:0", "-map", "0", "-c", "copy", "-flush_packets", "1", "-f", "data", address]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(FILE_HEADER)
            begun = time.monotonic()
            for due_s, tag in _paced(tags):
                time.sleep(max(0.0, due_s - (time.monotonic() - begun)))
                process.stdin.write(tag_bytes(tag))
                process.stdin.flush()
            process.stdin.close()
            code = process.wait(60)
            assert code == 0, f"the publisher ended with {code}"
        finally:
            process.kill()


def _paced(tags: Iterable[Tag]) -> Iterator[tuple[float, Tag]]:
    """Sending time of each tag, in seconds."""
    due_ms, before = 0, None
    for tag in tags:
        if not tag.header:
            step = tag.ms - before if before is not None else 0
            due_ms += step if abs(step) < JUMP_MS else 0
            before = tag.ms
        yield due_ms / 1000, tag


def publish(
    running: Installation, harness: PlayerHarness, live: Sequence[LiveCell], folder: Path
) -> dict[str, list[str]]:
    """Publish the cells concurrently, and check and play their recordings. Returns the faults by name of the cell."""
    sources = {}
    for one in live:
        recipes = (one.cell.recipe, *one.again)
        sources[one.stream] = [read_tags(recipe.make(folder / f"{one.stream}-{n}")) for n, recipe in enumerate(recipes)]
    keys = {one.stream: running.add_stream(one.stream) for one in live}

    def whole(one: LiveCell) -> None:
        for number, tags in enumerate(sources[one.stream]):
            time.sleep(AWAY_S if number else 0)
            send(tags, running.address(keys[one.stream]))

    found: dict[str, list[str]] = {one.cell.name: [] for one in live}
    with ThreadPoolExecutor(len(live)) as pool:
        for one, sent in [(one, pool.submit(whole, one)) for one in live]:
            try:
                sent.result()
            except Exception as error:
                found[one.cell.name].append(f"cannot be published: {error}")
    played = []
    for one in live:
        try:
            spool = running.broadcast(one.stream)
            root = running.finished(spool)
            ledger, advice = Ledger.load(open_store(str(root))), _advice(spool)
            found[one.cell.name] += Outcome(one.cell, root, ledger.losses.black_chunks, advice=advice).faults()
            played.append((one, root))
        except AssertionError as error:  # no recording in time
            found[one.cell.name].append(f"no recording: {error}")
    for one, root in played:
        place = root.relative_to(running.folder / "out")
        base = f"http://127.0.0.1:{running.settings.media_port}/media/{place}"
        found[one.cell.name] += play(harness, base)
    return found


def _advice(spool: BroadcastSpool) -> frozenset[str]:
    """Codes of the advice in the status."""
    told = spool.status().get("advice")
    assert isinstance(told, list)
    return frozenset(found["code"] for found in told)


def play(harness: PlayerHarness, base: str) -> list[str]:
    """Play a recording in all players concurrently, at double speed. Returns the problems."""
    faults = []
    with ExitStack() as stack:
        pages = [stack.enter_context(harness.playing(f"{base}/{entry}", player)) for player, entry in PLAYERS]
        end = time.monotonic() + PLAY_LIMIT_S
        for playing in pages:
            while True:
                report = playing.report()
                if report is not None and report.started:
                    playing.page.evaluate("document.querySelector('video').playbackRate = 2")
                if report is not None and (report.ended or time.monotonic() > end):
                    break
                if time.monotonic() > end:
                    break
                playing.page.wait_for_timeout(100)
            if report is None or not report.ended:
                faults.append(f"{playing.player} does not come to the end: {report}")
            elif report.problems:
                faults.append(f"{playing.player}: {report.problems}")
            elif report.duration_s is not None and abs(report.played_s - report.duration_s) > 0.3:
                faults.append(f"{playing.player} plays {report.played_s:.2f} s of {report.duration_s:.2f} s")
    return faults
