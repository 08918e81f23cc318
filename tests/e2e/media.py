"""Real output of the pipeline for the players: a test pattern and a tone in two renditions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.support.cli import Cli
from tests.support.media import ffmpeg

RUNGS = [{"name": "180p", "short_side": 180, "max_kbps": 300}, {"name": "90p", "short_side": 90, "max_kbps": 100}]
#: Name of the second video segment, relative to the output's root: at two seconds, with 25 fps.
SECOND_SEGMENT = "p0/*0p/50000.m4s"


def make_output(
    target: Path | str, work: Path, prefect_api: str, seconds: int = 6, environment: Mapping[str, str] | None = None
) -> Path:
    """Transcode ``seconds`` of 320x180 video to ``target``, a folder or several outputs, with the command line."""
    clip = work / "players.mp4"
    if not clip.exists():
        ffmpeg(
        "-f", "lavfi", "-i", f"testsrc2=size=320x180:rate=25:duration={seconds}",
        "-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}",
        "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50", "-sc_threshold", "0",
        "-c:a", "aac", str(clip),
    )  # fmt: skip
    ladder = json.dumps({"rungs": RUNGS, "audio_kbps": 64})
    done = Cli(work, {"PREFECT_API_URL": prefect_api, "STREAMWAVE_LADDER": ladder, **(environment or {})}).run(
        "transcode", str(clip), "--output", str(target)
    )
    assert done.code == 0, done.err
    return Path(target)
