"""An endpoint that accepts requests but never answers them does not keep a command from being stopped."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from streamwave.storage.store import open_store
from tests.support.cli import Cli
from tests.support.faults import Weather, proxy
from tests.support.media import make_clip
from tests.support.processes import wait_for
from tests.support.s3 import s3_server

#: Much less than the time-outs of an S3 request with all its retries.
SOON_S = 12


@pytest.mark.parametrize(("command", "number"), [("transcode", signal.SIGINT), ("run", signal.SIGTERM)])
def test_the_second_signal_ends_a_command_whose_put_hangs(
    tmp_path: Path, prefect_api: str, command: str, number: signal.Signals
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=25 * 60, gop=25, size="160x90")
    weather = Weather(faults=("time-out",))
    with s3_server() as s3, proxy(s3.endpoint, weather) as through:
        s3.bucket("films")
        environment = {**s3.environment, "STREAMWAVE_S3_ENDPOINT": through, "PREFECT_API_URL": prefect_api}
        cli = Cli(tmp_path, environment)
        stream = ("--stream", "stage") if command == "run" else ()
        with cli.start(command, str(clip.path), "-o", "s3://films/tv", *stream) as process:
            wait_for(
                lambda: any(name.endswith(".m4s") for name in open_store("s3://films/tv", s3.options).names()),
                "a segment",
                60,
            )
            weather.share = 1.0
            wait_for(lambda: weather.met["time-out"] > 0, "a request that hangs")
            process.send_signal(number)
            time_of_first = time.monotonic()
            wait_for(lambda: process.poll() is not None or time.monotonic() - time_of_first > 2, "the first signal")
            process.send_signal(number)
            began = time.monotonic()
            out, err = process.communicate(timeout=100)
            took_s = time.monotonic() - began
            assert took_s < SOON_S, f"{took_s:.1f} s: {out} {err}"
            assert process.returncode == 130, (out, err)
            assert cli.ffmpegs() == []


def test_who_aborts_while_the_output_refuses_is_told_that_nothing_is_lost(tmp_path: Path, prefect_api: str) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=25 * 60, gop=25, size="160x90")
    with s3_server() as s3:
        s3.bucket("films")
        cli = Cli(tmp_path, {**s3.environment, "PREFECT_API_URL": prefect_api, "COLUMNS": "500"})
        stored = open_store("s3://films/tv", s3.options)
        with cli.start("run", str(clip.path), "-o", "s3://films/tv", "--stream", "stage") as process:
            wait_for(lambda: any(name.endswith(".m4s") for name in stored.names()), "a segment")
            s3.enforce_rights(0)  # it accepts no credentials
            process.send_signal(signal.SIGINT)
            assert process.stdout is not None
            while (line := process.stdout.readline()) and not line.startswith("stopping"):
                continue
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=100)
    assert (
        process.returncode == 130 and "the next streamwave run of stage publishes the rest of what was received" in err
    ), (
        out,
        err,
    )
