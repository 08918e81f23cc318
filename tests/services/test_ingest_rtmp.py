"""Publishing end to end: FFmpeg publishes with a key, the ingest service accepts it, and a segmenter fills the spool."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import httpx
import pytest

from services.ingest.throttle import FREE
from streamwave.spool.journal import (
    CONTINUED,
    ChunkLine,
    JournalReader,
    OpenRecord,
    writer_alive,
    writer_pid,
)
from streamwave.streams.database import Database
from streamwave.streams.registry import Registry
from tests.matrix.flv import read_tags, write_tags
from tests.support.http import LOCAL
from tests.support.ingest import BEARER, Ingest, running
from tests.support.ingest_rtmp import (
    RATE,
    address,
    ended,
    finish,
    pictures,
    publishing,
    received,
    refused,
    rtmp,
    session_of,
)
from tests.support.media import make_clip
from tests.support.processes import wait_for


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """One for all tests, each of which has its own streams there."""
    with running(tmp_path_factory.mktemp("ingest"), STREAMWAVE_SEGMENT_SECONDS="1") as found, rtmp(found):
        yield found


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Ingest]:
    """For a test that ends the service, or reads its whole log."""
    with running(tmp_path, patient=True, STREAMWAVE_SEGMENT_SECONDS="1") as found, rtmp(found):
        yield found


def internal(ingest: Ingest, name: str) -> str:
    """The URL that segmenters pull from."""
    return f"rtmp://127.0.0.1:{ingest.settings.rtmp_internal_port}/live/{name}"


def signal_segmenter(session: Path, number: signal.Signals) -> int:
    """Send a signal to the segmenter of a session; its pid."""
    pid = writer_pid(session)
    assert pid is not None
    os.kill(pid, number)
    return pid


def files_that_hold(folder: Path, key: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


def test_every_picture_of_a_publish_and_of_its_return(alone: Ingest) -> None:
    key = alone.add("show")
    for number in range(FREE + 1):  # wrong keys from the same address, until they are delayed
        assert alone.hook("start-stream", call="publish", name=f"wrong-{number}").status_code == 403
    with publishing(alone, key, 300) as publisher:
        first = session_of(alone, "show", 0)
        wait_for(lambda: received(first), "a chunk")

        def live() -> bool:
            told = alone.client.get("/status").json()
            streams = [(row["stream"], row["session"]) for row in told["streams"]]
            return streams == [("show", "000000")] and told["parts"]["rtmp"] == {"status": "ok"}

        wait_for(live, "the stream in the status")
        # None of these disturbs the live publisher.
        assert refused(alone, key)
        assert refused(alone, f"{key}?name=show&addr=127.0.0.1")
        assert refused(alone, key[:-1])
        assert refused(alone, "show")
        sent = finish(publisher)
    end = ended(first)
    assert (end.error, pictures(first)) == (None, sent)
    opened = JournalReader(first).read()[0]
    assert isinstance(opened, OpenRecord) and opened.source.audio is not None
    assert opened.source.url == internal(alone, "***")
    # The publisher reconnects: same broadcast, next session.
    with publishing(alone, key, 2) as publisher:
        assert publisher.wait(60) == 0
    second = session_of(alone, "show", 1)
    assert second.parent == first.parent
    ended(second)
    assert pictures(second) == 2 * RATE and pictures(first) == sent
    log = alone.log.read_text()
    assert log.count("publish accepted") == 2 and log.count("publish ended") == 2
    assert "why=is live" in log.replace("'", "")
    assert files_that_hold(alone.folder, key) == []
    assert "Traceback" not in log


def test_a_return_before_the_old_session_has_drained(ingest: Ingest) -> None:
    """Publishers that are killed and followed at once by the next: none waits, and each gets a session of its own."""
    key = ingest.add("back")
    first: int | None = None
    for number in range(3):
        with publishing(ingest, key, 300) as publisher:
            session = session_of(ingest, "back", number)
            if number == 1:
                # The second publish was accepted while the segmenter of the first was still draining.
                assert first is not None and writer_alive(session.with_name("000000"))
                os.kill(first, signal.SIGCONT)
            wait_for(partial(received, session), "a chunk")
            if number == 0:
                first = signal_segmenter(session, signal.SIGSTOP)
            publisher.kill()
            publisher.wait()
    with publishing(ingest, key, 2) as publisher:
        assert publisher.wait(60) == 0
    last = session_of(ingest, "back", 3)
    ended(last)
    assert pictures(last) == 2 * RATE
    sessions = ingest.sessions("back")
    assert [ended(session).error for session in sessions] == [None] * 4
    assert all(RATE <= pictures(session) < 300 * RATE for session in sessions)


def test_the_service_restarts_while_somebody_publishes(alone: Ingest) -> None:
    key = alone.add("show")
    with publishing(alone, key, 300) as publisher:
        first = session_of(alone, "show", 0)
        wait_for(lambda: received(first), "a chunk")
        alone.stop(signal.SIGKILL)
        # nginx-rtmp sends two updates while the service is down.
        begun = received(first)
        wait_for(lambda: received(first) >= begun + 2, "chunks without the service")
        alone.start()
        assert "publish goes on" in alone.log.read_text()
        assert refused(alone, key)
        sent = finish(publisher)
    assert ended(first).error is None
    assert pictures(first) == sent
    assert len(alone.sessions()) == 1


def test_a_publisher_leaves_while_the_service_is_down(alone: Ingest) -> None:
    key = alone.add("show")
    with publishing(alone, key, 300) as publisher:
        first = session_of(alone, "show", 0)
        wait_for(lambda: received(first), "a chunk")
        alone.stop(signal.SIGKILL)
        sent = finish(publisher)
    assert ended(first).error is None
    assert pictures(first) == sent
    alone.start()
    with publishing(alone, key, 2) as publisher:
        assert publisher.wait(60) == 0
    second = session_of(alone, "show", 1)
    ended(second)
    assert pictures(second) == 2 * RATE


def test_the_rtmp_server_restarts(tmp_path: Path) -> None:
    """Client ids start again, and no end was reported: a new publish must not be confused with an old one of the same id."""
    with running(tmp_path, patient=True, STREAMWAVE_SEGMENT_SECONDS="1") as ingest:
        key = ingest.add("show")
        with rtmp(ingest) as server:
            with publishing(ingest, key, 300) as publisher:
                first = session_of(ingest, "show", 0)
                wait_for(lambda: received(first), "a chunk")
                os.kill(server.nginx_pid, signal.SIGKILL)
                # The publisher is disconnected, so it reconnects.
                assert publisher.wait(120) != 0
            with publishing(ingest, key, 2) as publisher:
                assert publisher.wait(60) == 0
        second = session_of(ingest, "show", 1)
        ended(second)
        assert pictures(second) == 2 * RATE
        ended(first)
        assert RATE <= pictures(first) < 300 * RATE


def test_a_killed_segmenter_is_replaced(ingest: Ingest) -> None:
    key = ingest.add("killed")
    with publishing(ingest, key, 300) as publisher:
        first = session_of(ingest, "killed", 0)
        wait_for(lambda: received(first) >= 5, "chunks")
        signal_segmenter(first, signal.SIGKILL)
        second = session_of(ingest, "killed", 1)
        wait_for(lambda: received(second) >= 3, "chunks of the next one")
        finish(publisher)
    assert ended(first).error == "the segmenter died"
    assert ended(second).error is None
    # Lost are the open chunk, and frames before the first keyframe after the start of the new segmenter.
    assert pictures(second) >= 3 * RATE
    assert pictures(first) >= 5 * RATE


def test_a_segmenter_that_is_killed_after_the_pictures_have_changed_is_replaced(ingest: Ingest) -> None:
    """By then the publish continues as a second session, and the journal of the first has its end record."""
    first = make_clip(ingest.folder / "a.flv", frames=3 * RATE, gop=RATE, size="128x72", options=("-bf", "0"))
    second = make_clip(ingest.folder / "b.flv", frames=120 * RATE, gop=RATE, size="64x36", options=("-bf", "0"))
    followed = [replace(tag, ms=tag.ms + 3000) for tag in read_tags(second.path)]
    write_tags(ingest.folder / "both.flv", [*read_tags(first.path), *followed])
    key = ingest.add("changed")
    command = ["ffmpeg", "-v", "error", "-nostdin", "-re", "-i", str(ingest.folder / "both.flv"), "-c", "copy"]
    with subprocess.Popen([*command, "-f", "flv", address(ingest, key)], stdin=subprocess.DEVNULL) as publisher:
        try:
            changed = session_of(ingest, "changed", 1)
            wait_for(lambda: received(changed) >= 3, "chunks of the second size")
            signal_segmenter(changed, signal.SIGKILL)
            third = session_of(ingest, "changed", 2)
            wait_for(lambda: received(third) >= 2, "chunks of the next segmenter")
            assert publisher.poll() is None
            publisher.send_signal(signal.SIGINT)
            assert publisher.wait(60) in (0, 255)
        finally:
            publisher.kill()
    assert (ended(session_of(ingest, "changed", 0)).reason, ended(changed).error) == (CONTINUED, "the segmenter died")
    assert ended(third).error is None
    assert pictures(third) >= RATE


@pytest.mark.parametrize("how", ["disabled", "rotated", "removed"])
def test_a_publisher_whose_stream_is_closed_is_disconnected(ingest: Ingest, how: str) -> None:
    name = f"show-{how}"
    key = ingest.add(name)
    with publishing(ingest, key, 300) as publisher:
        first = session_of(ingest, name, 0)
        wait_for(lambda: received(first), "a chunk")
        database = Database.open(ingest.settings)
        try:
            registry = Registry(database)
            if how == "disabled":
                registry.change(name, enabled=False)
            elif how == "rotated":
                registry.rotate_key(name)
            else:
                registry.remove(name)
        finally:
            database.close()
        assert publisher.wait(120) != 0
    assert ended(first).error is None
    assert refused(ingest, key)


def test_a_stop_on_request_disconnects_the_publisher(ingest: Ingest) -> None:
    key = ingest.add("stopped")
    with publishing(ingest, key, 300) as publisher:
        first = session_of(ingest, "stopped", 0)
        wait_for(lambda: received(first), "a chunk")
        assert ingest.client.post("/stop-stream", json={"stream": "stopped"}, headers=BEARER).status_code == 200
        assert ended(first).reason == "stopped"
        assert publisher.wait(120) != 0


def test_only_sound(ingest: Ingest) -> None:
    key = ingest.add("radio")
    with publishing(ingest, key, 3, video=False) as publisher:
        assert publisher.wait(60) == 0
    session = session_of(ingest, "radio", 0)
    assert ended(session).error is None
    chunks = [line.chunk for line in JournalReader(session).read() if isinstance(line, ChunkLine)]
    assert chunks and not any(chunk.video_file for chunk in chunks)
    frames = sum(chunk.audio_count for chunk in chunks)
    assert abs(frames * 1024 - 3 * 48000) <= 3 * 1024


def test_a_publisher_that_sends_nothing_is_disconnected(ingest: Ingest) -> None:
    key, said = ingest.add("silent"), len(ingest.log.read_text())
    with suppress(BrokenPipeError), av.open(address(ingest, key), "w", format="flv") as publisher:
        stream = publisher.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 36, "yuv420p"
        publisher.start_encoding()  # connects, publishes, and counts what the publisher would receive
        session = session_of(ingest, "silent", 0)
        wait_for(lambda: "publisher left" in ingest.log.read_text()[said:], "the end of the connection")
        error = ended(session).error
        assert error is not None and key not in error
        assert received(session) == 0
    with publishing(ingest, key, 2) as publisher:
        assert publisher.wait(60) == 0


def test_nobody_else_pulls(ingest: Ingest) -> None:
    key = ingest.add("pulled")

    def pulled(name: str, where: Callable[[Ingest, str], str] = internal) -> bool:
        pull = ["ffmpeg", "-v", "error", "-nostdin", "-rw_timeout", "20000000", "-i", where(ingest, name)]
        return subprocess.run([*pull, "-t", "1", "-f", "null", "-"], capture_output=True, timeout=60).returncode == 0

    assert not pulled("pulled")
    with publishing(ingest, key, 300) as publisher:
        first = session_of(ingest, "pulled", 0)
        wait_for(lambda: received(first), "a chunk")
        assert pulled("pulled")  # from this machine
        assert not pulled("pulled", address)  # where publishers connect
        assert not pulled(key)
        assert not pulled(f"pulled?publish={'0' * 32}")
        # From another address, as nginx-rtmp would report it.
        fields = {"call": "play", "name": "pulled", "clientid": "99", "addr": "192.0.2.1"}
        assert httpx.post(f"{ingest.url}/play-stream", data=fields, timeout=60, **LOCAL).status_code == 403
        sent = finish(publisher)
    ended(first)
    assert pictures(first) == sent
