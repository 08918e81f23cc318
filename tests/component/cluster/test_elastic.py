"""The example of an elastic installation, as its page shows it: workers come when streams need them, and go again."""

from __future__ import annotations

import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import streamwave
from services.ingest.encoding import installation
from streamwave.spool.broadcast import broadcasts
from tests.support.cli import LADDER, slow_ffmpeg
from tests.support.cluster import machines
from tests.support.http import answering
from tests.support.media import make_clip
from tests.support.processes import wait_for

SCRIPT = Path(__file__).resolve().parents[3] / "deployments" / "elastic.py"


def test_workers_come_and_go_with_the_demand_and_no_chunk_is_encoded_twice(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=400, gop=25, audio=False)
    slow = slow_ffmpeg(tmp_path / "ffmpeg", ".mkv", rate=f'$(cat "{tmp_path}/rate")')
    (tmp_path / "rate").write_text("0.25")
    calm = list[float]()
    options = streamwave.Settings.load(
        env_file=None, state_dir=tmp_path / "state", output_dir=str(tmp_path / "out"), segment_seconds=1, passthrough="never",
        ladder=json.dumps(LADDER), task_runner="",
    )  # fmt: skip

    def status(request: BaseHTTPRequestHandler) -> None:
        """As the ingest service answers, until the streams have become ``calm``."""
        rows: list[dict[str, Any]] = [{"run": spool.status()} for spool in broadcasts(options.spool_dir)]
        found = installation(rows, options)
        for demand in calm:
            found["demand"] = demand
        request.send_response(200)
        request.end_headers()
        request.wfile.write(json.dumps({"encoding": found}).encode())

    with (
        machines(tmp_path, FFMPEG_PATH=str(slow), STREAMWAVE_FFMPEG_SLOTS="1") as some,
        ThreadPoolExecutor(1) as threads,
        answering(status) as url,
    ):
        some.scheduler()
        elastic = some.python(
            "elastic",
            str(SCRIPT),
            some.address,
            f"{url}/status",
            "--minimum",
            "1",
            "--maximum",
            "3",
            "--interval",
            "500ms",
        )

        def count(text: str) -> int:
            assert elastic.process.poll() is None, elastic.log.read_text()
            return elastic.log.read_text().count(text)

        wait_for(lambda: count(": ready") == 1, "the first worker")
        live = streamwave.open_live(
            clip.path,
            "show",
            settings=options.model_copy(update={"task_runner": some.address, "max_chunks_in_flight": 16}),
        )
        published = threads.submit(live.publish)
        try:
            wait_for(lambda: count(": ready") == 3, "three workers")
            calm.append(0.5)
            wait_for(lambda: count(": drained") == 2, "two that go")
            assert not published.done()
            (tmp_path / "rate").write_text("100")
            recording = published.result(120)
        finally:
            live.stop()
        os.kill(elastic.process.pid, signal.SIGTERM)
        assert elastic.process.wait(60) == 0, elastic.log.read_text()
        assert elastic.log.read_text().count(": drained") == 3
    starts = re.findall(r"-i \S+/(\d+)\.mkv", (slow.parent / "starts").read_text())
    assert sorted(map(int, starts)) == list(range(16))
    assert recording.verify().ok
