"""``streamwave run``: a live run by hand in the foreground, and the ways in which it ends."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import av.error
import pytest

from streamwave.spool.broadcast import broadcasts
from streamwave.spool.journal import writer_alive
from tests.support.by_hand import SETTINGS, by_hand, chunks, on_air, served
from tests.support.cli import Cli
from tests.support.live import is_static, periods, picture_numbers
from tests.support.media import Clip, make_clip
from tests.support.paced import paced
from tests.support.player import decode_sound
from tests.support.ports import free_port
from tests.support.prefect_api import PrefectApi
from tests.support.processes import marked, wait_for
from tests.support.segmented import luma_number

SIGNALS = pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    # No B-frames: the last picture that arrives could be one that belongs behind one which does not.
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=1000, gop=25, options=("-bf", "0"))


@contextmanager
def silent() -> Iterator[str]:
    """The address of a server that lets everybody in and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/nothing.ts"


def pictures_in(path: Path) -> int:
    with suppress(av.error.FFmpegError), av.open(str(path)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)
    return 0


@SIGNALS
def test_the_first_signal_publishes_all_that_was_received(cli: Cli, clip: Clip, signum: int) -> None:
    with by_hand(cli, served(clip, loop=True)) as process:
        spool = on_air(cli)
        wait_for(lambda: chunks(spool) >= 3, "three chunks")
        process.send_signal(signum)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "stopping; press Ctrl-C again to abort" in out and "the recording is complete" in out
    root = Path(spool.info().output)
    assert is_static(root)
    (period,) = periods(root)
    numbers = picture_numbers(period, clip.rate)
    assert numbers == [number % clip.frames for number in range(len(numbers))]
    status = spool.status()
    assert (status["state"], status["lag_ms"], status["warnings"]) == ("finished", 0, [])
    # All that was received, to the last picture, which is no keyframe's chunk in full.
    assert len(numbers) * 40 == status["received_ms"]
    assert 3 * clip.gop < len(numbers)
    assert marked(cli.mark) == {}
    # Prefect has not learnt what may be a password, and neither has anything that is kept.
    (run,) = PrefectApi(cli.extra["PREFECT_API_URL"]).flow_runs("live-stream", output=str(cli.folder / "out"))
    assert run["state_type"] == "COMPLETED"
    assert "geheim" not in json.dumps(run)
    assert "geheim" not in out + err
    kept = [path for path in cli.folder.rglob("*") if path.is_file() and b"geheim" in path.read_bytes()]
    assert kept == []


def test_the_second_signal_gives_the_rest_up(cli: Cli, clip: Clip) -> None:
    with by_hand(cli, served(clip, loop=True)) as process:
        spool = on_air(cli)
        wait_for(lambda: chunks(spool) >= 2, "two chunks")
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert "publishing" in process.stdout.readline()
        assert "stopping" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=60)
    assert process.returncode in (130, 0), err  # 0: all was published before it came
    assert "Traceback" not in err
    assert marked(cli.mark) == {}
    assert spool.finished
    (period,) = periods(Path(spool.info().output))
    numbers = picture_numbers(period, clip.rate)
    assert numbers == [number % clip.frames for number in range(len(numbers))] and len(numbers) >= 2 * clip.gop


def test_what_a_killed_run_has_left_is_completed_by_the_next(cli: Cli, clip: Clip) -> None:
    with by_hand(cli, served(clip, loop=True)) as process:
        first = on_air(cli)
        wait_for(lambda: chunks(first) >= 3, "three chunks")
        process.kill()
        process.wait(60)
    wait_for(lambda: marked(cli.mark) == {}, "the end of what it had started")
    assert not first.finished and not is_static(Path(first.info().output))
    session = first.sessions()[0]
    lines = [json.loads(line).get("chunk", {}) for line in (session / "journal.jsonl").read_text().splitlines()]
    received = sum(chunk.get("pictures", 0) for chunk in lines)
    # A chunk may have waited for its sound, or be open; what is on disk of their pictures counts as received.
    last = max(chunk.get("number", 0) for chunk in lines)
    received += sum(pictures_in(path) for path in session.glob("*.mkv") if int(path.stem) > last)
    with by_hand(cli, served(clip, loop=True)) as process:
        wait_for(lambda: first.finished, "the first recording")
        wait_for(lambda: len(broadcasts(cli.state / "spool", "show")) == 2, "the next broadcast")
        second = broadcasts(cli.state / "spool", "show")[1]
        wait_for(lambda: chunks(second) >= 1, "its first chunk")
        process.send_signal(signal.SIGINT)
        said, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert f"completing show/{first.broadcast} first: the previous run was killed" in said
    for spool in (first, second):
        assert is_static(Path(spool.info().output))
    (period,) = periods(Path(first.info().output))
    assert picture_numbers(period, clip.rate) == [number % clip.frames for number in range(received)]
    assert received >= 3 * clip.gop


@SIGNALS
def test_a_signal_before_anything_is_received(cli: Cli, tmp_path: Path, signum: int) -> None:
    """At first there is only the folder of the session, then a segmenter that has not come to its journal yet."""
    loading = tmp_path / "loading"
    loading.mkdir()
    (loading / "sitecustomize.py").write_text(
        "import sys, time\nif 'streamwave.receive.segmenter' in sys.orig_argv:\n    time.sleep(600)\n"
    )
    cli.extra["PYTHONPATH"] = str(loading)
    with by_hand(cli, silent()) as process:
        spool = on_air(cli)
        assert not any(map(writer_alive, spool.sessions()))
        process.send_signal(signum)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (130, False), err
    assert "the recording is complete" not in out
    assert "before anything was received" in err
    assert marked(cli.mark) == {}
    assert spool.finished and spool.sessions() == []
    assert not (cli.folder / "out").exists()


def test_a_source_that_says_nothing_is_given_up_on_request(cli: Cli) -> None:
    with by_hand(cli, silent()) as process:
        spool = on_air(cli)
        wait_for(lambda: any(map(writer_alive, spool.sessions())), "the segmenter")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the recording is complete" not in out
    assert marked(cli.mark) == {}
    assert spool.finished


def test_a_source_that_cannot_be_read_is_an_error(cli: Cli) -> None:
    cli.extra |= SETTINGS
    source = f"rtmp://127.0.0.1:{free_port()}/live/geheim"
    done = cli.run("run", source, "--stream", "show", "-o", str(cli.folder / "out"))
    assert done.code == 2, done
    (line,) = [line for line in done.err.splitlines() if line.startswith("error:")]
    assert "cannot be read (Connection refused)" in done.err.replace("\n", " ")
    assert "Traceback" not in done.err and "geheim" not in done.out + done.err and line
    assert "the recording is complete" not in done.out
    assert broadcasts(cli.state / "spool", "show")[0].finished


def test_nothing_is_received_for_an_output_that_cannot_be_written(cli: Cli, clip: Clip) -> None:
    """It would wait in the spool for a place that may never be."""
    cli.extra |= SETTINGS
    (cli.folder / "out").write_text("in the way")
    done = cli.run("run", f"file:{clip.path}", "--stream", "show", "--output", str(cli.folder / "out"))
    assert done.code == 1, done
    (line,) = [line for line in done.err.splitlines() if line.startswith("error:")]
    assert str(cli.folder / "out") in line and "publishing" not in done.out
    assert not broadcasts(cli.state / "spool", "show")


def test_an_output_that_is_away_at_the_end_is_not_waited_for_on_request(cli: Cli, tmp_path: Path) -> None:
    cli.extra |= SETTINGS
    short = make_clip(tmp_path / "short.mp4", frames=50, gop=25)
    odd = short.path.rename(tmp_path / os.fsdecode(b"[red]%03d caf\xe9\n\xe2\x80\xae.mp4"))
    near, far = cli.folder / "near", cli.folder / "far"
    far.write_text("in the way")
    places = json.dumps([str(near), str(far)])
    with cli.start("run", f"file:{odd}", "--stream", "show", "--output", places) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(3)]
        assert said == ["publishing to\n", f"  {near}/show/\n", f"  {far}/show/; press Ctrl-C to stop\n"]
        news = process.stdout.readline()
        spool = broadcasts(cli.state / "spool", "show")[0]
        path = f"show/{spool.broadcast}"
        assert news.startswith(f"the recording is complete at {near / path}; the run waits until ")
        assert f"for {far / path} (" in news and news.endswith("to catch up; press Ctrl-C to stop waiting\n")
        assert is_static(near / path)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in err
    assert out == f"the recording is complete: {near}/show/\n"
    assert (
        f"error: the recording is incomplete at {far / path} (" in err
        and f"complete it with: streamwave broadcasts catch-up {path}" in err
    )
    assert spool.finished
    done = cli.run("broadcasts", "catch-up", "show", "-o", places)
    assert (done.code, done.out) == (1, f"complete at {near / path}\n")
    assert "its copy is incomplete: run this again" in done.err
    far.unlink()
    done = cli.run("broadcasts", "catch-up", "show", "-o", places)
    assert done.code == 0 and done.out.splitlines() == [
        f"complete at {near / path}",
        f"complete at {far / path}",
    ]
    for place in (near, far):
        (period,) = periods(place / path)
        assert picture_numbers(period, short.rate) == list(range(short.frames))
    done = cli.run("broadcasts", "catch-up", "show", "-o", str(near))
    assert done.code == 2 and "several outputs" in done.err


#: A run as Prefect's UI starts it, with text as parameters, and the block that a person has made there.
BLOCK = """
import sys
from prefect.blocks.system import Secret
Secret(value=sys.argv[1]).save("camera", overwrite=True)
from flows.live_stream import live_stream
live_stream(source=sys.argv[2], stream="show", output=sys.argv[3])
"""


def test_a_source_may_be_kept_in_a_secret_block(cli: Cli, tmp_path: Path) -> None:
    cli.extra |= SETTINGS
    short = make_clip(tmp_path / "geheim.mp4", frames=50, gop=25)
    out = str(cli.folder / "out")
    cli.extra |= {
        "STREAMWAVE_ALLOWED_FILE_ROOTS": str(short.path),
        "OUTPUT_DIR": out,
    }  # as far as Prefect's users reach
    done = cli.run("-c", BLOCK, f"file:{short.path}", "secret:camera", out, program="python")
    assert done.code == 0, done.err
    (run,) = PrefectApi(cli.extra["PREFECT_API_URL"]).flow_runs("live-stream", output=out)
    assert run["parameters"]["source"] == "secret:camera" and "geheim" not in json.dumps(run)
    (period,) = periods(Path(broadcasts(cli.state / "spool", "show")[0].info().output))
    assert picture_numbers(period, short.rate) == list(range(short.frames))
    done = cli.run("-c", BLOCK, "rtmp://127.0.0.1", "secret:other", out, program="python")
    assert done.code != 0 and "Prefect has no Secret block 'other'" in done.err


def test_a_camera_without_timestamps_is_as_long_as_it_was(cli: Cli, tmp_path: Path) -> None:
    """JPEG after JPEG over HTTP, ten a second, which nothing in it says."""
    rate, seconds = 10, 8
    options = ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-bf", "0")
    camera = make_clip(tmp_path / "camera.mkv", frames=rate * seconds, audio=False, options=options)
    with av.open(str(camera.path)) as container:
        jpegs = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    parts = [b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg + b"\r\n" for jpeg in jpegs]
    pieces, sent_s = [(Fraction(n, rate), part) for n, part in enumerate(parts)], list[list[float]]()
    kind = "multipart/x-mixed-replace; boundary=frame"
    with by_hand(cli, paced(pieces, kind=kind, sent_s=sent_s)) as process:
        spool = on_air(cli)
        _, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    (period,) = periods(Path(spool.info().output))
    with av.open(io.BytesIO(period["large"].data), "r") as container:
        numbers = [luma_number(frame) for frame in container.decode(video=0)]
    assert numbers == sorted(numbers) and len(set(numbers)) >= rate * seconds - 4  # on a busy machine, two may meet
    lasts_s = len(decode_sound(period["audio"].data).samples) / 48000
    due_s = sent_s[-1][-1] - sent_s[-1][0] + 1 / rate
    assert due_s >= seconds - 0.01 and lasts_s == pytest.approx(due_s, abs=2 / rate)
