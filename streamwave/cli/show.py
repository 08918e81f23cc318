"""``streamwave broadcasts show``: everything that is known about one broadcast."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from rich.console import Console
from rich.markup import escape

from streamwave.broadcasts.catalog import Broadcast, Output
from streamwave.cli.output import print_table
from streamwave.cli.shapes import BroadcastShape, FillerShape, LocationShape, PeriodShape, ShowDocument, TrackShape
from streamwave.cli.units import length_text, moment_text, size_text
from streamwave.config.settings import Settings
from streamwave.layout import MANIFEST, MASTER
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import ChunkLine, PeriodLine, read_lines
from streamwave.manifest.rolling import StateLine
from streamwave.manifest.timeline import Period
from streamwave.model import State
from streamwave.spool.broadcast import BroadcastSpool
from streamwave.storage.store import LocalStore, Store
from streamwave.timing import round_half_up


@dataclass
class _PeriodDetails:
    """What the ledger records about a period besides its timeline."""

    session: str
    chunks: int = 0  # 0 if the ledger no longer has the number
    filler: list[tuple[int, tuple[str, ...], Fraction]] = field(default_factory=list)  # chunk, renditions, start in s


def print_broadcast(output: Output, found: Broadcast, settings: Settings, console: Console) -> None:
    """Print state, addresses, periods, renditions, gaps, filler and warnings.

    Raises:
        OutputError: the output cannot be read.
    """
    store = output.store(found.path)
    console.print(f"[bold]{escape(found.path or store.url)}[/bold]  {escape(found.title)}")
    console.print(f"  state      {found.state}")
    console.print(f"  started    {moment_text(found.started_unix_ms)} UTC")
    if found.state is State.DELETED:
        console.print("  Its deletion was interrupted: delete it again, or run streamwave broadcasts clean.")
        return
    if found.ended_unix_ms:
        console.print(f"  ended      {moment_text(found.ended_unix_ms)} UTC")
    on_air = f" available of {length_text(found.on_air_ms)}" if found.on_air_ms else ""
    console.print(f"  length     {length_text(found.duration_ms)}{on_air}")
    console.print(f"  size       {size_text(found.size_bytes)}")
    for label, address in addresses(output, found, settings, store):
        console.print(f"  {label:<10} {escape(address)}")
    timeline = Ledger.load(store).shown
    if timeline is None:
        return
    details = _read(store)
    for number, period in enumerate(timeline.periods):
        _print_period(period, Fraction(0) if number else timeline.head, details.get(period.name), console)
        if number + 1 < len(timeline.periods):
            gap_ms = _gap_ms(period, timeline.periods[number + 1])
            if gap_ms > 0:
                console.print(f"  [yellow]gap[/yellow]  nothing was received for {length_text(gap_ms)}")
    warnings = _warnings(output, found)
    label = "warning" if found.state is State.LIVE else "warning while it was live:"  # may have been repaired since
    for warning in warnings:
        console.print(f"[yellow]{label}[/yellow] {escape(warning)}")


def _warnings(output: Output, found: Broadcast) -> list[str]:
    spool = BroadcastSpool(output.spool_dir / found.path) if found.path.count("/") == 1 else None
    warnings = spool.status().get("warnings") if spool is not None else None
    return [str(warning) for warning in warnings] if isinstance(warnings, list) else []


def broadcast_shape(found: Broadcast, urls: list[str]) -> BroadcastShape:
    """A broadcast that the outputs at ``urls`` hold, as JSON."""
    return BroadcastShape(
        name=found.path or ".", title=found.title, state=found.state.value, started_unix_ms=found.started_unix_ms,
        ended_unix_ms=found.ended_unix_ms, duration_ms=found.duration_ms, on_air_ms=found.on_air_ms,
        renditions=list(found.renditions), size_bytes=found.size_bytes, outputs=urls,
    )  # fmt: skip


def show_document(output: Output, found: Broadcast, settings: Settings) -> ShowDocument:
    """The content of ``print_broadcast`` as JSON.

    Raises:
        OutputError: the output cannot be read.
    """
    shape, store = broadcast_shape(found, [output.url]), output.store(found.path)
    if found.state is State.DELETED:
        return ShowDocument(broadcast=shape, locations=[], periods=[], warnings=[])
    locations = [LocationShape(kind=kind, url=url) for kind, url in addresses(output, found, settings, store)]
    timeline = Ledger.load(store).shown
    periods = []
    if timeline is not None:
        details, following = _read(store), [*timeline.periods[1:], None]
        for number, (period, after) in enumerate(zip(timeline.periods, following, strict=True)):
            gap_ms = max(_gap_ms(period, after), 0) if after else 0
            head = Fraction(0) if number else timeline.head
            periods.append(_period_shape(period, head, details.get(period.name), gap_ms))
    return ShowDocument(broadcast=shape, locations=locations, periods=periods, warnings=_warnings(output, found))


def _period_shape(period: Period, head: Fraction, details: _PeriodDetails | None, gap_ms: int) -> PeriodShape:
    tracks = []
    for name, track in period.tracks.items():
        video, made = track.rendition.kind == "video", track.rendition
        tracks.append(TrackShape(
            name=name, kind=made.kind, codecs=track.codecs,
            width_px=made.width if video else None, height_px=made.height if video else None,
            frame_rate=str(track.frame_rate) if video else None, channels=None if video else made.channels,
            sample_rate_hz=None if video else made.sample_rate, segments=len(track.segments),
            size_bytes=track.init_size + sum(segment.size for segment in track.segments),
            average_bps=track.average_bps(), peak_bps=track.peak_bps(),
        ))  # fmt: skip
    filler = [
        FillerShape(chunk=number, renditions=list(names), at_ms=round_half_up((at - head) * 1000))
        for number, names, at in (details.filler if details else [])
        if at >= head
    ]
    return PeriodShape(
        name=period.name, session=details.session if details else None, chunks=(details.chunks or None) if details else None,
        start_ms=round_half_up(max(period.start + head, Fraction(0)) * 1000),
        duration_ms=round_half_up((period.duration - head) * 1000), gap_after_ms=gap_ms, tracks=tracks, filler=filler,
    )  # fmt: skip


def addresses(output: Output, found: Broadcast, settings: Settings, store: Store) -> list[tuple[str, str]]:
    """The addresses of a broadcast as (label, URL) pairs; the player page is included if it serves this output."""
    root = f"{output.url.rstrip('/')}/{found.path}".rstrip("/")
    known = [("DASH", f"{root}/{MANIFEST}"), ("HLS", f"{root}/{MASTER}")]
    if isinstance(store, LocalStore) and output.url in [target.url for target in settings.outputs[:1]]:
        base = settings.public_url.rstrip("/")
        known.append(("watch", f"{base}/?src=/media/{found.path}/{MANIFEST}"))
    return known


def _read(store: Store) -> dict[str, _PeriodDetails]:
    """Details of each period by name: the session, the number of chunks and the chunks replaced by filler."""
    periods: dict[str, _PeriodDetails] = {}
    current: PeriodLine | None = None
    for _, _, line in read_lines(store):
        if isinstance(line, StateLine):  # a rolling ledger replaces older lines by a summary
            for current in map(PeriodLine.model_validate, line.lines):
                periods[current.name] = _PeriodDetails(current.session)
            if current is not None:
                periods[current.name].chunks = line.next_chunk - current.first_chunk
        elif isinstance(line, PeriodLine):
            current = line
            periods[line.name] = _PeriodDetails(line.session)
        elif isinstance(line, ChunkLine) and current is not None:
            details = periods[current.name]
            details.chunks = line.number + 1 - current.first_chunk
            if line.filled:
                scales = {track.rendition.name: track.timescale for track in current.tracks}
                first = line.filled[0]
                details.filler.append((line.number, line.filled, Fraction(line.segments[first][0][0], scales[first])))
    return periods


def _print_period(period: Period, head: Fraction, details: _PeriodDetails | None, console: Console) -> None:
    """Print the part of a period that can be watched; a DVR window has removed its first ``head`` seconds."""
    start = length_text(round_half_up(max(period.start + head, Fraction(0)) * 1000))
    length = length_text(round_half_up((period.duration - head) * 1000))
    chunks = f" ({details.chunks} chunks)" if details and details.chunks else ""
    session = f", session {details.session}{chunks}" if details else ""
    console.print(f"\nperiod [bold]{escape(period.name)}[/bold] from {start}, {length} long{session}")
    rows = []
    for name, track in period.tracks.items():
        video = track.rendition.kind == "video"
        picture = f"{track.rendition.width}x{track.rendition.height}" if video else f"{track.rendition.channels} ch"
        rate = f"{track.frame_rate} fps" if video else f"{track.rendition.sample_rate} Hz"
        size = track.init_size + sum(segment.size for segment in track.segments)
        rows.append([
            name, track.codecs, picture, rate, str(len(track.segments)), size_text(size),
            f"{track.average_bps() // 1000} kbit/s", f"{track.peak_bps() // 1000} kbit/s",
        ])  # fmt: skip
    headings = ("rendition", "codec", "format", "rate", "segments", "size", "mean", "peak")
    print_table(console, headings, rows, right=("segments", "size", "mean", "peak"), indent=2)
    for number, names, from_s in details.filler if details else []:
        if from_s < head:
            continue
        at = length_text(round_half_up((from_s - head) * 1000))
        console.print(f"  [yellow]filler[/yellow]  chunk {number} at {at} could not be decoded ({', '.join(names)})")


def _gap_ms(period: Period, following: Period) -> int:
    """Milliseconds by the wall clock between the end of a period and the start of the next one; 0 for files."""
    if period.wall_unix_ms is None or following.wall_unix_ms is None:
        return 0
    return following.wall_unix_ms - period.wall_unix_ms - round_half_up(period.duration * 1000)
