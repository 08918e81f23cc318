"""``streamwave probe``: what a source holds, and the ladder that follows."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamwave import ladder as ladders
from streamwave.ffmpeg.probe import probe
from streamwave.settings import Settings
from streamwave.source import resolve_source
from streamwave.spool.look import look


def run_probe(source: str, ladder: str | None, console: Console) -> None:
    """Print the source's tracks and its planned renditions."""
    settings = Settings.load()
    url = resolve_source(source)
    info = probe(url)
    found = Table(title=Text(f"found in {source}"), title_justify="left")
    for column in ("track", "codec", "format", "rate"):
        found.add_column(column)
    if info.video is not None:
        width, height = ladders.display_size(info.video)
        stored = f"{info.video.width}x{info.video.height}"
        shown = stored if stored == f"{width}x{height}" else f"{stored}, shown as {width}x{height}"
        rate = info.video.stated_rate
        found.add_row("video", info.video.codec, shown, f"{rate} fps" if rate else "unknown")
    if info.audio is not None:
        found.add_row("audio", info.audio.codec, f"{info.audio.channels} channels", f"{info.audio.sample_rate} Hz")
    console.print(found)
    if info.duration_ms is not None:
        console.print(f"{info.container}, {info.duration_ms // 1000}.{info.duration_ms % 1000:03d} s")
    planned = Table(title="renditions", title_justify="left")
    for column in ("name", "size", "at most"):
        planned.add_column(column)
    renditions = ladders.plan(info, ladders.choose(settings.ladder, ladder))
    for rendition in renditions:
        size = f"{rendition.width}x{rendition.height}" if rendition.kind == "video" else "stereo, 48000 Hz"
        planned.add_row(rendition.name, size, f"{rendition.max_bps // 1000} kbit/s")
    console.print(planned)
    for advice in look(url, renditions):
        console.print(Text.assemble((f"{advice.code}: ", "yellow"), advice.text), soft_wrap=True)
