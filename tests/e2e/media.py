"""Real output of the pipeline for the players: a test picture and a tone in two sizes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.support.cli import Cli
from tests.support.media import ffmpeg

RUNGS = [{"name": "180p", "short_side": 180, "max_kbps": 300}, {"name": "90p", "short_side": 90, "max_kbps": 100}]
#: Where the second video segment lies, below the output's root: two seconds in, at 25 pictures a second.
SECOND_SEGMENT = "p0/*0p/50000.m4s"


def make_output(
    target: Path | str, work: Path, prefect_api: str, seconds: int = 6, environment: Mapping[str, str] | None = None
) -> Path:
    """Transcode ``seconds`` of 320x180 with the command line into ``target``; that folder, or those outputs."""
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
