"""``streamwave probe``: the tracks of a source, and the ladder planned for it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from streamwave.cli.output import emit, print_table
from streamwave.cli.shapes import AdviceShape, AudioShape, PlannedShape, ProbeDocument, VideoShape
from streamwave.config.settings import Settings
from streamwave.errors import SourceError
from streamwave.ffmpeg import picture
from streamwave.ffmpeg.limits import SourceLimits
from streamwave.ffmpeg.locate import has_zimg, locate
from streamwave.ffmpeg.probe import check_decodable, check_track
from streamwave.ffmpeg.probing import probe
from streamwave.ffmpeg.tonemap import USUAL_PEAK_NITS
from streamwave.model import Colour, Rendition, SourceInfo, VideoInfo
from streamwave.pipeline import ladder as ladders
from streamwave.receive.quick_probe import look
from streamwave.sources.address import resolve_source, shown
from streamwave.spool.advice import Advice, of_tracks

ONCE = "the source accepts only one connection, so it was not checked for encoder settings to improve"


def run_probe(
    source: str, ladder: str | None, console: Console, audio_track: int | None = None, json: bool = False
) -> None:
    """Print the source's tracks and its planned renditions."""
    settings = Settings.load()
    binary = locate(str(settings.ffmpeg_path) if settings.ffmpeg_path else None)
    url = resolve_source(source)
    limits = settings.source_limits
    info = probe(url, settings.audio_index(audio_track), limits)
    check_decodable(info, binary)
    check_track(info, audio_track)
    renditions = ladders.plan(info, ladders.choose(settings.ladder, ladder))
    remarks = notes(info.video, zimg=has_zimg(binary.path)) if info.video is not None else []
    found_in, advice = of_tracks(info), _look(url, renditions, limits)
    if advice is not None:
        advice = [*found_in, *advice]
    if json:
        emit(_document(source, info, remarks, renditions, advice))
        return
    found = []
    if info.video is not None:
        found.append(["video", info.video.codec, _picture(info.video), _rate(info.video)])
    if info.audio is not None:
        which = f"audio ({info.audio_number} of {info.audio_tracks})" if info.audio_tracks > 1 else "audio"
        found.append([which, info.audio.codec, f"{info.audio.channels} channels", f"{info.audio.sample_rate} Hz"])
    # Not the table's title, because rich wraps that to the table's width.
    console.print(Text(f"tracks in {shown(url)}"), soft_wrap=True)
    print_table(console, ("track", "codec", "format", "rate"), found, wraps=("format", "rate"), indent=2)
    for line in remarks:
        console.print(Text(line), soft_wrap=True)
    if info.duration_ms is not None:
        console.print(f"{info.container}, {info.duration_ms // 1000}.{info.duration_ms % 1000:03d} s", soft_wrap=True)
    planned = []
    for one in renditions:
        size = f"{one.width}x{one.height}" if one.kind == "video" else "stereo, 48000 Hz"
        planned.append([one.name, size, f"{one.max_bps // 1000} kbit/s"])
    console.print("renditions")
    print_table(console, ("name", "size", "at most"), planned, wraps=("size",), indent=2)
    if advice is None:
        console.print(ONCE, soft_wrap=True)
    for one_advice in found_in if advice is None else advice:
        console.print(Text.assemble((f"{one_advice.code}: ", "yellow"), one_advice.text), soft_wrap=True)


def _document(
    source: str, info: SourceInfo, remarks: list[str], renditions: Sequence[Rendition], advice: list[Advice] | None
) -> ProbeDocument:
    video, audio = None, None
    if info.video is not None:
        width, height = ladders.display_size(info.video)
        video = VideoShape(
            codec=info.video.codec, width_px=info.video.width, height_px=info.video.height,
            shown_width_px=width, shown_height_px=height, sample_aspect=str(info.video.sample_aspect),
            mirrored=info.video.mirrored, rotation_degrees=info.video.rotation, pixel_format=info.video.pixel_format,
            frame_rate=str(info.video.stated_rate) if info.video.stated_rate else None,
            interlaced=info.video.interlaced, bit_rate_bps=info.video.bit_rate_bps,
        )  # fmt: skip
    if info.audio is not None:
        audio = AudioShape(codec=info.audio.codec, channels=info.audio.channels, sample_rate_hz=info.audio.sample_rate)
    planned = [
        PlannedShape(
            name=one.name, kind=one.kind, width_px=one.width or None, height_px=one.height or None, max_bps=one.max_bps
        )
        for one in renditions
    ]
    return ProbeDocument(
        source=source, container=info.container, duration_ms=info.duration_ms, video=video, audio=audio,
        audio_tracks=info.audio_tracks, notes=remarks, renditions=planned,
        advice=None if advice is None else [AdviceShape(code=one.code, text=one.text) for one in advice],
    )  # fmt: skip


def _look(url: str, renditions: tuple[Rendition, ...], limits: SourceLimits) -> list[Advice] | None:
    """Advice to the publisher from the start of the stream; None if the source accepts only one connection."""
    try:
        return look(url, renditions, limits)
    except SourceError:
        if url.startswith("file:"):
            raise
    return None


def _picture(video: VideoInfo) -> str:
    width, height = ladders.display_size(video)
    stored = f"{video.width}x{video.height}"
    shown = stored if stored == f"{width}x{height}" else f"{stored}, shown as {width}x{height}"
    return f"{shown}, {video.pixel_format}" if video.pixel_format else shown


def _rate(video: VideoInfo) -> str:
    rate = f"{video.stated_rate} fps" if video.stated_rate else "unknown"
    return f"{rate}, {video.bit_rate_bps // 1000} kbit/s" if video.bit_rate_bps else rate


def notes(video: VideoInfo, *, zimg: bool) -> list[str]:
    """How frames are converted for the renditions (orientation, aspect, interlacing, colours), one line each."""
    lines = []
    if video.mirrored:
        lines.append("its metadata asks for a horizontal flip: mirrored")
    if video.rotation:
        lines.append(f"its metadata asks for a rotation by {video.rotation} degrees: rotated")
    if video.sample_aspect != 1:
        lines.append(
            f"pixel aspect ratio {video.sample_aspect.numerator}:{video.sample_aspect.denominator}: converted to square pixels"
        )
    if video.interlaced:
        lines.append("interlaced: deinterlaced to the same frame rate")
    stated, used, out = video.colour, picture.complete(video), picture.output_colour(video)
    names = f"{used.primaries}/{used.transfer}/{used.matrix}"
    inferred = " (unspecified values are inferred from the frame size)" if "unknown" in _words(stated) else ""
    lines.append(
        f"colours (primaries/transfer/matrix): {names}, {'full' if stated.full_range else 'limited'} range{inferred}"
    )
    if picture.is_hdr(video):
        kind = "PQ" if stated.transfer == "smpte2084" else "HLG"
        way = "" if zimg else ", approximately: this FFmpeg lacks zimg"
        lines.append(f"HDR ({kind}, up to {video.peak_nits or USUAL_PEAK_NITS} cd/m2): tone-mapped to BT.709{way}")
    elif _words(out) != _words(used):
        lines.append("wider colour gamut than the renditions: converted to BT.709")
    if stated.full_range:
        lines.append("full range: converted to limited")
    return lines


def _words(colour: Colour) -> tuple[str, str, str]:
    return (colour.primaries, colour.transfer, colour.matrix)
