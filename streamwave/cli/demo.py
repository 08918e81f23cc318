"""``streamwave demo``: a clip through the whole pipeline, and a page that plays it."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from streamwave.cli.transcode import run_transcode
from streamwave.ffmpeg.locate import locate
from streamwave.ffmpeg.process import launcher
from streamwave.settings import Settings

CLIP_S = 12


def make_clip(ffmpeg_path: str, path: Path, seconds: int = CLIP_S, *, grain: int = 0) -> None:
    """A moving picture with burnt-in frame number and clock, and a tone that changes every second.

    ``grain`` is the strength of noise over the picture: without it, it is much easier to encode than what cameras see.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.mp4")
    style = "x=60:y=60:fontsize=64:fontcolor=white:box=1:boxborderw=16:boxcolor=black"
    text = f"drawtext=text='frame %{{n}}   %{{pts\\:hms}}':{style}"
    argv = [
        ffmpeg_path, "-hide_banner", "-nostdin", "-loglevel", "error", "-y",
        "-f", "lavfi", "-i", f"testsrc2=size=1920x1080:rate=30:duration={seconds},noise=alls={grain}:allf=t,{text}",
        "-f", "lavfi", "-i", f"aevalsrc=0.2*sin(2*PI*t*(330+110*mod(floor(t)\\,4))):s=48000:d={seconds}",
        "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "60", "-sc_threshold", "0",
        "-c:a", "aac", "-ac", "2", str(part),
    ]  # fmt: skip
    launcher().reopen()
    try:
        launcher().run(argv, what="the demo's clip", timeout_s=300)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def run_demo(source: str | None, duration_s: int | None, console: Console) -> None:
    """Transcode ``source`` (or a generated clip), serve the result for ``duration_s`` and say where it plays."""
    from services.media import MediaServer

    settings = Settings.load()
    if source is None:
        clip = settings.state_dir / "demo" / "clip.mp4"
        if not clip.exists():
            console.print(f"generating a clip of {CLIP_S} s")
            make_clip(locate(str(settings.ffmpeg_path) if settings.ffmpeg_path else None).path, clip)
        source = str(clip)
    output = settings.state_dir / "demo" / "out"
    run_transcode(source, str(output / "demo"), None, True, console)
    web = Path(__file__).parents[2] / "web"
    with MediaServer(root=output, web=web, port=settings.media_port, runtime_dir=settings.state_dir / "nginx"):
        address = f"http://127.0.0.1:{settings.media_port}/?src=/media/demo/manifest.mpd"
        console.print(f"\n[bold green]watch it at {address}[/bold green]")
        if duration_s is None:
            console.print("Ctrl-C ends the demo")
        end = None if duration_s is None else time.monotonic() + duration_s
        while end is None or time.monotonic() < end:
            time.sleep(0.2)
    console.print("the demo has ended")
