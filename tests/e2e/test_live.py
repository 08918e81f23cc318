"""Live from publisher to player with ``streamwave up``: every frame arrives exactly once."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import pytest

from streamwave.spool.broadcast import BroadcastSpool, broadcasts
from streamwave.v1 import streamwave_pb2 as pb
from streamwave.v1.streamwave_pb2_grpc import StreamProcessingStub
from tests.support.live import Installation, assert_exact, assert_ffmpeg_plays, listed, status_warnings
from tests.support.media import Clip, make_clip
from tests.support.processes import wait_for
from tests.support.rpc import calls

#: `make demo DURATION=30` measures the same over 30 s.
LONG_FRAMES, SHORT_FRAMES = 250, 75
CYCLES, CYCLE_FRAMES = 10, 25
GOP = 25


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Clip]:
    folder = tmp_path_factory.mktemp("clips")
    lengths = {"long": LONG_FRAMES, "short": SHORT_FRAMES, "cycle": CYCLE_FRAMES}
    return {name: make_clip(folder / f"{name}.mp4", frames=frames, gop=GOP) for name, frames in lengths.items()}


@pytest.fixture(scope="module")
def recordings(running: Installation, clips: dict[str, Clip]) -> dict[str, BroadcastSpool]:
    """Two streams that were published concurrently, one of them for longer."""
    keys = {name: running.add_stream(name, f"The {name} one") for name in ("long", "short")}
    with ExitStack() as stack:
        publishers = {name: stack.enter_context(running.publish(clips[name], keys[name])) for name in keys}
        for name, publisher in publishers.items():
            assert publisher.wait(60) == 0, name
    spools = {name: running.broadcast(name) for name in keys}
    for spool in spools.values():
        running.finished(spool)
    return spools


@pytest.mark.parametrize("name", ["long", "short"])
def test_every_frame_from_the_first_keyframe_to_the_tail(
    running: Installation, recordings: dict[str, BroadcastSpool], clips: dict[str, Clip], name: str
) -> None:
    assert_exact(running.root(recordings[name]), [clips[name]])
    assert status_warnings(recordings[name]) == []


def test_ffmpeg_plays_the_recordings_in_silence(running: Installation, recordings: dict[str, BroadcastSpool]) -> None:
    for spool in recordings.values():
        assert_ffmpeg_plays(running.root(spool))


def test_the_list_of_broadcasts(running: Installation, recordings: dict[str, BroadcastSpool]) -> None:
    entries = {entry["stream"]: entry for entry in listed(running) if entry["stream"] in recordings}
    assert set(entries) == set(recordings)
    for name, entry in entries.items():
        assert (entry["state"], entry["title"]) == ("ended", f"The {name} one")
        assert running.get(f"media/{entry['manifest']}")
        assert running.get(f"media/{entry['hls']}")
    # The audio ends with the AAC frame in which the video ends, or the next one.
    assert 0 <= entries["long"]["duration_ms"] - LONG_FRAMES * 40 < 50


def is_completed(running: Installation, spool: BroadcastSpool) -> bool:
    return bool(running.flow_runs(spool)[0]["state_type"] == "COMPLETED")


def test_prefect_shows_one_completed_run_for_each(running: Installation, recordings: dict[str, BroadcastSpool]) -> None:
    for spool in recordings.values():
        (run,) = running.flow_runs(spool)
        completed = wait_for(partial(is_completed, running, spool), "the end of the run")
        assert completed, run


def test_the_api_lists_itself_and_starts_a_session_once(
    running: Installation, recordings: dict[str, BroadcastSpool], clips: dict[str, Clip]
) -> None:
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    key = running.add_stream("twice")
    with calls(running.settings.grpc_port, running.settings.state_dir) as channel:
        assert "streamwave.v1.StreamProcessing" in ProtoReflectionDescriptorDatabase(channel).get_services()
        rpc = StreamProcessingStub(channel)
        with running.publish(clips["short"], key) as publisher:
            spool = running.broadcast("twice")
            request = pb.StartStreamRequest(session=f"twice/{spool.broadcast}/000000")
            first = wait_for(lambda: rpc.StartStream(request, timeout=60).flow_run_id, "the flow run")
            again = rpc.StartStream(request, timeout=60)
            assert (again.flow_run_id, again.created) == (first, False)
            assert publisher.wait(60) == 0
    assert_exact(running.finished(spool), [clips["short"]])
    assert [run["id"] for run in running.flow_runs(spool)] == [first]


def test_ten_publishes_in_a_row_leave_nothing_behind(
    running: Installation, recordings: dict[str, BroadcastSpool], clips: dict[str, Clip]
) -> None:
    key = running.add_stream("cycle")
    before, processes = running.resources(), set(running.processes())
    for _ in range(CYCLES):
        running.publish_whole(clips["cycle"], key)
    spool = running.broadcast("cycle")
    root = running.finished(spool)
    assert len(broadcasts(running.settings.spool_dir, "cycle")) == 1
    assert_exact(root, [clips["cycle"]] * CYCLES)
    # The process of the finished run is replaced by one that waits for the next run; there must be no other new process.
    wait_for(lambda: len(running.processes()) <= len(processes), f"{running.processes()} to end")
    assert running.leftovers() == []

    def grown() -> dict[str, tuple[int, int]]:
        now = running.resources()
        more = {name: (now[name][0] - before[name][0], now[name][1] - before[name][1]) for name in before}
        return {name: counts for name, counts in more.items() if max(counts) >= CYCLES // 2}

    wait_for(lambda: not grown(), "threads and descriptors to be released")
