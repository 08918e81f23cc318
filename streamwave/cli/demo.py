"""``streamwave demo``: start every service, publish a clip as OBS would, show where to watch it, and measure the result."""

from __future__ import annotations

import os
import subprocess
import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from urllib.error import URLError

from rich.console import Console

from streamwave.cli.output import print_table
from streamwave.cli.prefect import ui_line
from streamwave.cli.up import everything
from streamwave.config.settings import Settings
from streamwave.errors import SourceError, StreamWaveError
from streamwave.ffmpeg.locate import locate
from streamwave.ffmpeg.probing import probe
from streamwave.ffmpeg.process import kill, launcher, spawn
from streamwave.layout import MANIFEST
from streamwave.sources.address import local_path, resolve_source, shown
from streamwave.spool.broadcast import BroadcastSpool, broadcasts
from streamwave.streams.database import Database
from streamwave.streams.registry import Registry
from streamwave.util.waiting import wait_until
from streamwave.verify import RenditionReport, read_broadcast

STREAM = "demo"
#: A whole number of video frames, GOPs and AAC frames, so that the clip can be looped without a gap.
CLIP_S = 32
#: The demo's publisher never reconnects, so a short window ends the broadcast soon.
RECONNECT_WINDOW_S = 2
#: AAC frames by which audio and video may differ in length, since AAC frames do not align with the first and last video frame.
AUDIO_SLACK = 2


def make_clip(ffmpeg_path: str, path: Path, seconds: int = CLIP_S, *, grain: int = 0) -> None:
    """Generate a test pattern with burnt-in frame number and clock, and a tone that changes every second.

    ``grain`` is the strength of added noise; without it the clip is much easier to encode than camera footage.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.mp4")
    style = "x=60:y=60:fontsize=64:fontcolor=white:box=1:boxborderw=16:boxcolor=black"
    # Whole AAC frames: a padded last frame would make the audio longer than the video.
    samples = seconds * 48000 // 1024 * 1024
    text = f"drawtext=text='frame %{{n}}   %{{pts\\:hms}}':{style}"
    argv = [
        ffmpeg_path, "-hide_banner", "-nostdin", "-loglevel", "error", "-y",
        "-f", "lavfi", "-i", f"testsrc2=size=1920x1080:rate=30:duration={seconds},noise=alls={grain}:allf=t,{text}",
        "-f", "lavfi", "-i", f"aevalsrc=0.2*sin(2*PI*t*(330+110*mod(floor(t)\\,4))):s=48000,atrim=end_sample={samples}",
        "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "60", "-sc_threshold", "0",
        "-c:a", "aac", "-ac", "2", str(part),
    ]  # fmt: skip
    launcher().reopen()
    try:
        launcher().run(argv, what="the demo's clip", timeout_s=300)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class Publisher:
    """FFmpeg in place of OBS: publishes a clip in real time, optionally looped, without re-encoding."""

    def __init__(self, ffmpeg_path: str, clip: str, url: str, seconds: int | None, *, loop: bool) -> None:
        argv = [
            ffmpeg_path,
            "-hide_banner",
            "-nostdin",
            "-loglevel",
            "error",
            "-re",
        ]
        # Only the generated clip is known to loop without a gap.
        argv += ["-stream_loop", "-1"] if seconds is None or loop else []
        argv += ["-i", clip]
        argv += ["-t", str(seconds)] if seconds is not None else []
        argv += ["-c", "copy", "-f", "flv", "-progress", "pipe:1", url]
        self.started_unix_ms = time.time_ns() // 1_000_000
        self.process = spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._sent = ""
        # FFmpeg reports its progress every half second; a full pipe would block it.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(b"frame="):
                self._sent = line.decode().strip().removeprefix("frame=")

    def frames(self) -> int:
        """Number of video frames sent. Waits up to 10 s for the publisher to end.

        Raises:
            StreamWaveError: the publisher failed.
        """
        status = self.process.wait(10)
        self._reader.join(5)
        if status != 0 or not self._sent:
            raise StreamWaveError(
                "the demo's publisher was not accepted or was cut off; see the logs of ingest and media"
            )
        return int(self._sent)


@dataclass(frozen=True)
class Outcome:
    """What a demo run measured. Times in milliseconds."""

    published_frames: int
    renditions: dict[str, RenditionReport]
    playable_ms: int | None
    latency_ms: dict[str, int]

    def faults(self) -> list[str]:
        """One sentence per deviation from an exact result; empty if there is none."""
        found = [f"{r.name}: {fault}" for r in self.renditions.values() for fault in r.faults]
        for report in self.renditions.values():
            if report.kind == "video" and report.samples != self.published_frames:
                found.append(f"{report.name}: {report.samples} frames instead of {self.published_frames}")
        video = max((r.seconds for r in self.renditions.values() if r.kind == "video"), default=Fraction(0))
        for report in self.renditions.values():
            if report.kind == "audio" and abs(report.seconds - video) > Fraction(AUDIO_SLACK * 1024, 48000):
                found.append(
                    f"{report.name}: {float(report.seconds):.3f} s, but the video is {float(video):.3f} s long"
                )
        if not self.renditions:
            found.append("the recording is empty")
        return found


def run_demo(source: str | None, duration_s: int | None, console: Console) -> int:
    """Publish ``source`` (default: a generated clip) for ``duration_s`` seconds and report on it. Returns the exit code."""
    given = Settings.load()
    # Keep the demo's data apart from that of `up`, but share the Prefect database, which takes long to create.
    os.environ["STREAMWAVE_STATE_DIR"] = str(given.state_dir / "demo")
    os.environ["STREAMWAVE_SPOOL_DIR"] = str(given.state_dir / "demo" / "spool")
    os.environ["OUTPUT_DIR"] = str(given.state_dir / "demo" / "out")
    os.environ["PREFECT_HOME"] = str(given.prefect_home)
    os.environ.setdefault("STREAMWAVE_RECONNECT_WINDOW_S", str(RECONNECT_WINDOW_S))
    settings = Settings.load()
    ffmpeg_path = locate(str(settings.ffmpeg_path) if settings.ffmpeg_path else None).path
    if source is not None:
        clip = _published(resolve_source(source), settings)
    else:
        generated = settings.state_dir / f"clip-{CLIP_S}.mp4"
        if not generated.exists():
            console.print(f"generating a clip of {CLIP_S} s (only the first time)")
            make_clip(ffmpeg_path, generated)
        clip = f"file:{generated}"
    console.print("starting RTMP server, ingest, processing, Prefect and media server …")
    with everything(settings, lambda name, line: None) as supervisor:
        key = _demo_key(settings)
        address = f"rtmp://127.0.0.1:{settings.rtmp_port}/live/{key}"
        publisher = Publisher(ffmpeg_path, clip, address, duration_s, loop=source is None)
        try:
            spool = _wait_broadcast(settings, publisher)
            base = f"http://127.0.0.1:{settings.media_port}"
            path = f"{STREAM}/{spool.broadcast}/{MANIFEST}"
            playable_ms = _wait_playable(f"{base}/media/{path}", publisher)
            console.print(f"\n[bold green]watch it at {base}/?src=/media/{path}[/bold green]")
            console.print(f"all broadcasts: {base}/   Prefect: {ui_line(settings)}", soft_wrap=True)
            if duration_s is None:
                console.print("press Ctrl-C to stop the demo")
            latency: dict[str, int] = {}
            while publisher.process.poll() is None:
                supervisor.tick()
                latency = _latency(spool) or latency
                time.sleep(0.2)
            frames = publisher.frames()
        finally:
            kill(publisher.process, grace_s=2)
        console.print("the publisher has ended; waiting for the recording …")
        if not wait_until(lambda: spool.finished, 60):
            raise StreamWaveError(f"the recording was not finished within 60 s; see {settings.state_dir / 'logs'}")
        manifest = _get(f"{base}/media/{path}")
        root = f"{base}/media/{STREAM}/{spool.broadcast}"
        renditions = read_broadcast(manifest or b"", lambda name: _get(f"{root}/{name}"))
        outcome = Outcome(frames, renditions, playable_ms, _latency(spool) or latency)
    return report(outcome, console)


def _published(url: str, settings: Settings) -> str:
    """The input for the publishing FFmpeg, from the resolved ``url``.

    Raises:
        SourceError: the source has no video, or cannot be read.
    """
    if probe(url, limits=settings.source_limits).video is None:
        raise SourceError(f"{shown(url)} has no video, whose frames the demo counts; choose a source with video")
    return f"file:{local_path(url)}" if url.startswith("file:") else url


def report(outcome: Outcome, console: Console) -> int:
    """Print the table of measurements. Returns the exit code: 1 if frames or samples are missing, else 0."""
    rows = []
    for name, found in outcome.renditions.items():
        if found.kind == "video":
            rows.append([f"frames in {name}", str(found.samples), str(outcome.published_frames)])
        else:
            seconds = f"{outcome.published_frames} frames of video"
            rows.append([f"length of {name}", f"{float(found.seconds):.3f} s", f"that of {seconds}"])
    rows.append(["publish started to manifest playable", f"{(outcome.playable_ms or 0) / 1000:.1f} s", "at most 6 s"])
    if outcome.latency_ms:
        rows.append(
            ["last frame of a chunk to manifest, median", f"{outcome.latency_ms['median'] / 1000:.2f} s", "1.7 s"]
        )
        rows.append(["the same, 95th percentile", f"{outcome.latency_ms['p95'] / 1000:.2f} s", "2.5 s"])
    console.print("results")
    print_table(console, ("measure", "found", "expected"), rows, wraps=("measure", "expected"), indent=2)
    faults = outcome.faults()
    for fault in faults:
        console.print(f"[red]not exact:[/red] {fault}")
    if not faults:
        console.print("[green]every published frame is in every rendition[/green]")
    return 1 if faults else 0


def _demo_key(settings: Settings) -> str:
    """A new key for the demo's stream; keys are stored hashed, so an earlier one cannot be read back."""
    database = Database.open(settings)
    try:
        registry = Registry(database)
        if any(stream.name == STREAM for stream in registry.all()):
            return registry.rotate_key(STREAM)
        return registry.add(STREAM, "StreamWave demo")[1]
    finally:
        database.close()


def _wait_broadcast(settings: Settings, publisher: Publisher) -> BroadcastSpool:
    def newest() -> BroadcastSpool | None:
        found = broadcasts(settings.spool_dir, STREAM)
        return found[-1] if found and found[-1].info().created_unix_ms >= publisher.started_unix_ms else None

    if not wait_until(lambda: newest() is not None or publisher.process.poll() is not None, 20) or newest() is None:
        publisher.frames()
        raise StreamWaveError("the publish did not arrive; see the logs of ingest and media")
    found = newest()
    assert found is not None
    return found


def _wait_playable(url: str, publisher: Publisher) -> int | None:
    if wait_until(lambda: _get(url) is not None, 30):
        return time.time_ns() // 1_000_000 - publisher.started_unix_ms
    return None


def _latency(spool: BroadcastSpool) -> dict[str, int]:
    found = spool.status().get("latency_ms")
    return {str(k): int(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _get(url: str) -> bytes | None:
    with suppress(URLError, OSError), urllib.request.urlopen(url, timeout=5) as response:
        data: bytes = response.read()
        return data
    return None
