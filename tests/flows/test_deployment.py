"""The deployment, with the commands of the README: a work pool, a worker in a process of its own, and a run."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

from streamwave.config.prefect_env import CLIENT_ENV
from tests.support.cli import ROOT, Cli
from tests.support.media import make_clip
from tests.support.player import decode_pictures, representations
from tests.support.prefect_api import PrefectApi
from tests.support.processes import marked, wait_for

FILE = "deployments/prefect.yaml"


def test_deploy_work_and_run(cli: Cli, prefect_api: str) -> None:
    films = cli.folder / "films"
    films.mkdir()
    clip = make_clip(films / "clip.mp4", frames=75)
    # Prefect keeps parameters as JSON, which cannot hold such a name but in a URL.
    source = clip.path.rename(films / os.fsdecode(b"[red] caf\xe9\n\xe2\x80\xaf.mp4")).as_uri()
    output = cli.folder / "out"
    cli.extra |= {
        "PREFECT_HOME": str(cli.state / "prefect"), "PREFECT_WORKER_QUERY_SECONDS": "1",
        # How far runs reach that are asked for through Prefect.
        "STREAMWAVE_ALLOWED_FILE_ROOTS": str(films), "OUTPUT_DIR": str(output),
    }  # fmt: skip

    def prefect(*arguments: str) -> str:
        done = cli.run(*arguments, program="prefect", cwd=ROOT)
        assert done.code == 0, done.out + done.err
        return done.out

    prefect("work-pool", "create", "--type", "process", "streamwave")
    assert "'vod/vod' successfully created" in prefect("deploy", "--prefect-file", FILE, "--all")
    # The worker's own folder is none of the checkout's: the deployment knows where its code lies.
    with cli.start("worker", "start", "--pool", "streamwave", program="prefect", cwd=cli.folder) as worker:
        api = PrefectApi(prefect_api)

        def ended(flow: str, place: Path) -> dict[str, Any]:
            (run,) = api.flow_runs(flow, output=str(place))
            return run if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED") else {}

        elsewhere = cli.folder / "elsewhere"
        for place in (output, elsewhere):
            prefect("deployment", "run", "vod/vod", "-p", f"source={source}", "-p", f"output={place}")
        run = wait_for(partial(ended, "vod", output), "the end of the flow run")
        assert (run["state_name"], run["name"]) == ("Completed", f"vod file://{films}/[red] caf%E9%0A%E2%80%AF.mp4")
        run = wait_for(partial(ended, "vod", elsewhere), "the end of the flow run that is refused")
        assert run["state_name"] == "Failed" and "OUTPUT_DIR" in run["state"]["message"]
        assert not elsewhere.exists()
        # Whoever may use Prefect's API gets no further inside than the public internet does.
        for name, flow, more in (("vod/vod", "vod", ()), ("live-stream/live", "live-stream", ("-p", "stream=inside"))):
            inside = output / f"inside-{flow}"
            prefect("deployment", "run", name, "-p", "source=http://127.0.0.1:1/x", "-p", f"output={inside}", *more)
            run = wait_for(partial(ended, flow, inside), "the end of the flow run")
            assert run["state_name"] == "Failed" and "STREAMWAVE_SOURCE_HOSTS" in run["state"]["message"]
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=60)
    assert marked(cli.mark) == {}
    for rendition in representations(output).values():
        if rendition.kind == "video":
            numbers = [picture.number for picture in decode_pictures(rendition.data, rendition.timescale)]
            assert numbers == list(range(clip.frames))


def test_workers_get_the_settings_that_the_command_line_has() -> None:
    """They stand twice, because the file of deployments cannot import."""
    text = (ROOT / FILE).read_text(encoding="utf-8")
    lines = {line.strip().replace('"', "") for line in text.splitlines()}
    assert {f"{name}: {value}" for name, value in CLIENT_ENV.items()} <= lines
