"""A live run over the borders of its windows: in order, whole, also while Prefect's server is away."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from flows.server import prefect_server
from streamwave.layout import MASTER
from streamwave.model import ChunkRecord
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.broadcast import open_session
from streamwave.spool.journal import ChunkLine, EndRecord, JournalReader, JournalWriter, OpenRecord
from streamwave.spool.options import Options
from tests.support.cli import Cli
from tests.support.disk import swap
from tests.support.live import assert_exact, periods, picture_numbers
from tests.support.media import Clip, make_clip
from tests.support.ports import free_port
from tests.support.prefect_api import AUTH, RECORDED_S, PrefectApi
from tests.support.processes import wait_for

CHUNKS = 12
#: Two chunks a window, and no more than two on their way at once.
SETTINGS = {
    "STREAMWAVE_SEGMENT_SECONDS": "1",
    "STREAMWAVE_WINDOW_S": "2",
    "STREAMWAVE_MAX_CHUNKS_IN_FLIGHT": "2",
    "STREAMWAVE_PRESET": "ultrafast",
    "STREAMWAVE_CHUNK_RETRIES": "1",
}
RUN = "import sys; from flows.live_stream import live_stream; live_stream(broadcast_spool=sys.argv[1])"

#: The same on a machine on which a window without chunks takes seconds to end.
RUN_SLOWLY = f"""
import threading, time
from flows.pipeline import ChunkPipeline

drain = ChunkPipeline.drain

def slowly(self):
    if threading.current_thread().name == "window-1":
        time.sleep(5)
    drain(self)

ChunkPipeline.drain = slowly
{RUN}"""

RUN_IMPATIENT = f"import flows.windows; flows.windows.REPORT_LIMIT_S = 2; {RUN}"


@dataclass(frozen=True)
class Received:
    """What a segmenter has made of a clip."""

    clip: Clip
    folder: Path
    opened: OpenRecord
    chunks: list[ChunkRecord]


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> Received:
    folder = tmp_path_factory.mktemp("received")
    clip = make_clip(folder / "clip.mp4", frames=25 * CHUNKS, gop=25)
    Segmenter(Options(source=f"file:{clip.path}", spool=folder / "spool", segment_ms=1000)).run()
    lines = JournalReader(folder / "spool").read()
    assert isinstance(lines[0], OpenRecord)
    chunks = [line.chunk for line in lines if isinstance(line, ChunkLine)]
    assert len(chunks) == CHUNKS
    return Received(clip, folder / "spool", lines[0], chunks)


class Feed:
    """A broadcast that is received at the test's word. It is over as soon as its one session has ended."""

    def __init__(self, cli: Cli, received: Received) -> None:
        self.spool, self.session = open_session(
            cli.state / "spool", "show", output=str(cli.folder / "out"), window_ms=0
        )
        self._received = received
        self._journal = JournalWriter(self.session, stoppable=False)
        self._journal.append(received.opened)
        self._next = 0

    def chunks(self, until: int) -> None:
        """Receive the chunks before number ``until``."""
        for record in self._received.chunks[self._next : until]:
            for name in (record.video_file, record.audio_file):
                shutil.copy(self._received.folder / str(name), self.session)
            self._journal.append(ChunkLine(chunk=record))
        self._next = until

    def end(self) -> None:
        """The publisher leaves."""
        self._journal.append(EndRecord(reason="end of source", ended_unix_ms=time.time_ns() // 1_000_000))
        self._journal.close()

    @property
    def root(self) -> Path:
        """Where it is published."""
        return Path(self.spool.info().output)

    def published(self, count: int) -> None:
        """Wait until so many chunks are published."""
        wait_for(lambda: self.spool.status().get("chunks") == count, f"{count} chunks: {self.spool.status()}")


def finish(process: subprocess.Popen[str]) -> None:
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err[-3000:]


def test_a_window_that_has_just_begun_ends_with_the_broadcast(cli: Cli, received: Received) -> None:
    cli.extra |= SETTINGS
    api = PrefectApi(cli.extra["PREFECT_API_URL"])
    feed = Feed(cli, received)

    def states() -> list[str]:
        runs = api.flow_runs("live-stream", broadcast_spool=str(feed.spool.folder))
        return [window["state_type"] for run in runs for window in api.children(run["id"])]

    with cli.start("-c", RUN_SLOWLY, str(feed.spool.folder), program="python") as process:
        feed.chunks(4)
        wait_for(lambda: len(states()) > 1 and "RUNNING" in states()[1:], "a second window, which waits for chunks")
        feed.end()
        finish(process)
    assert set(states()) == {"COMPLETED"}, states()


def test_order_and_completeness_over_many_borders(cli: Cli, received: Received) -> None:
    """Chunks come faster than they are worked on, so the limit of chunks in flight is reached at every border."""
    cli.extra |= SETTINGS
    api = PrefectApi(cli.extra["PREFECT_API_URL"])
    feed = Feed(cli, received)

    def windows_begun() -> int:
        windows = [window for run in api.flow_runs("live-stream", **parameters) for window in api.children(run["id"])]
        return sum(window["state_type"] not in ("SCHEDULED", "PENDING") for window in windows)

    parameters = {"broadcast_spool": str(feed.spool.folder)}
    with cli.start("-c", RUN, str(feed.spool.folder), program="python") as process:
        for border in (1, 2):
            feed.chunks(4 * border)
            # The next window is begun while the old one goes on; the next chunks find it.
            wait_for(lambda border=border: windows_begun() > border, f"window {border}", 60)  # type: ignore[misc]
        feed.chunks(CHUNKS)
        feed.end()
        finish(process)
    assert_exact(feed.root, [received.clip])
    assert feed.spool.status()["warnings"] == []

    (run,) = api.flow_runs("live-stream", **parameters)
    assert run["state_type"] == "COMPLETED"
    windows = api.children(run["id"])
    assert len(windows) >= 3
    assert [window["name"] for window in windows] == [f"window {number:04d}" for number in range(len(windows))]
    assert {window["state_type"] for window in windows} == {"COMPLETED"}

    def stores() -> list[list[dict[str, Any]]]:
        runs = [[t for t in api.task_runs(w["id"]) if t["name"].startswith("store") and t["end_time"]] for w in windows]
        return runs if sum(map(len, runs)) >= CHUNKS else []

    stored = wait_for(stores, "the chunks", RECORDED_S)
    in_order = [run for window in stored for run in sorted(window, key=lambda run: str(run["name"]))]
    assert [run["name"] for run in in_order] == [f"store {number:06d}" for number in range(CHUNKS)]
    assert all(a["end_time"] <= b["start_time"] for a, b in zip(in_order, in_order[1:], strict=False))


def begun(own_cli: Cli, received: Received) -> tuple[Feed, Callable[[], AbstractContextManager[str]]]:
    """A broadcast with one chunk, and what starts the Prefect server of its run, which can be started again."""
    port = free_port()
    own_cli.extra |= {**SETTINGS, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    feed = Feed(own_cli, received)
    feed.chunks(1)
    return feed, partial(prefect_server, own_cli.state / "prefect", AUTH, port=port)


def test_prefect_is_away_at_a_border(own_cli: Cli, received: Received) -> None:
    feed, own_server = begun(own_cli, received)
    with ExitStack() as server, ExitStack() as run:
        server.enter_context(own_server())
        process = run.enter_context(own_cli.start("-c", RUN, str(feed.spool.folder), program="python"))
        feed.published(1)
        server.close()
        # The first window is full after the next chunk, and another one cannot be begun.
        feed.chunks(7)
        feed.published(7)
        server.enter_context(own_server())
        feed.chunks(CHUNKS)
        feed.end()
        finish(process)
    assert_exact(feed.root, [received.clip])
    assert feed.spool.status()["warnings"] == []


def test_prefect_is_gone_for_good_when_the_broadcast_ends(own_cli: Cli, received: Received) -> None:
    """Players learn that it is over, although nobody can report that to Prefect."""
    feed, own_server = begun(own_cli, received)
    with ExitStack() as server, ExitStack() as run:
        server.enter_context(own_server())
        run.enter_context(own_cli.start("-c", RUN_IMPATIENT, str(feed.spool.folder), program="python"))
        feed.published(1)
        server.close()
        feed.chunks(CHUNKS)
        feed.end()
        manifest = feed.root / "manifest.mpd"
        wait_for(lambda: 'type="static"' in manifest.read_text(), "the end of the broadcast")
    assert_exact(feed.root, [received.clip])


def test_damaged_files_cost_their_chunk_and_are_said(cli: Cli, received: Received) -> None:
    cli.extra |= SETTINGS
    feed = Feed(cli, received)
    feed.chunks(4)
    (feed.session / str(received.chunks[1].audio_file)).write_bytes(b"no sound")
    (feed.session / str(received.chunks[2].video_file)).write_bytes(b"no pictures")
    feed.end()
    with cli.start("-c", RUN, str(feed.spool.folder), program="python") as process:
        finish(process)
    (period,) = periods(feed.root)
    gop = received.clip.gop
    assert picture_numbers(period, received.clip.rate) == [*range(2 * gop), *[0] * gop, *range(3 * gop, 4 * gop)]
    frames = sum(chunk.audio_count for chunk in received.chunks[:4])
    audio = period["audio"]
    assert sum(segment.duration for segment in audio.segments) == frames * 1024
    # Tasks of several chunks run at the same time: whichever is told first.
    assert sorted(cast(list[str], feed.spool.status()["warnings"])) == [
        "1 chunks could not be decoded and are shown in black",
        "the audio of 1 chunks could not be read and is silent",
    ]


def test_an_output_that_comes_back_costs_nothing(cli: Cli, received: Received) -> None:
    cli.extra |= SETTINGS
    feed = Feed(cli, received)
    feed.chunks(1)

    def is_told() -> bool:
        outputs = feed.spool.status().get("outputs")
        return isinstance(outputs, list) and "cannot be written" in str(outputs[0]["error"])

    with cli.start("-c", RUN, str(feed.spool.folder), program="python") as process:
        feed.published(1)
        (feed.root / MASTER).unlink()
        (feed.root / MASTER).mkdir()  # in the way of the file
        feed.chunks(3)
        feed.end()
        wait_for(is_told, "an output that refuses")
        (feed.root / MASTER).rmdir()
        finish(process)
    (period,) = periods(feed.root)
    assert picture_numbers(period, received.clip.rate) == list(range(3 * received.clip.gop))


def test_the_lag_grows_for_as_long_as_the_output_is_away(cli: Cli, received: Received) -> None:
    """What is received counts, also what no task may take yet because too many chunks are in flight."""
    cli.extra |= SETTINGS
    feed = Feed(cli, received)

    def lags(lag_ms: int) -> None:
        def told() -> bool:
            status = feed.spool.status()
            # What is published ends with an AAC frame.
            return abs(int(str(status["lag_ms"])) - lag_ms) < 22 and status["received_ms"] == lag_ms + 2000

        wait_for(told, f"a lag of {lag_ms} ms")

    with cli.start("-c", RUN, str(feed.spool.folder), program="python") as process:
        feed.chunks(2)
        feed.published(2)
        # In one step: a folder that is missing, if only for a moment, is a broadcast that was deleted.
        away = feed.root.with_name("away")
        away.write_text("a file is in the way")
        swap(feed.root, away)
        feed.chunks(CHUNKS - 2)
        lags(1000 * (CHUNKS - 4))
        feed.chunks(CHUNKS)
        lags(1000 * (CHUNKS - 2))

        def refused() -> bool:
            (output,) = cast(list[dict[str, Any]], feed.spool.status()["outputs"])
            return "a file is in the way of the folder" in (output["error"] or "") and output["chunks"] == 2

        wait_for(refused, "the refusal of the output")
        swap(feed.root, away)
        feed.end()
        finish(process)
    assert_exact(feed.root, [received.clip])
    status = feed.spool.status()
    assert (status["lag_ms"], status["received_ms"], status["chunks"]) == (0, 1000 * CHUNKS, CHUNKS)
