"""Cells: audio codecs, sample rates and channels, missing, late and short audio, several tracks, audio without video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from streamwave.timing import AAC_FRAME
from tests.matrix.cell import Cell
from tests.matrix.flv import SOUND, read_tags, retimed, write_tags
from tests.matrix.measure import Outcome
from tests.matrix.remux import remux
from tests.matrix.source import AAC, H264, Recipe
from tests.support.media import QUIET, ffmpeg

F = Fraction
PLAIN = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-crf", "20")
UNTOLD = 2 * AAC_FRAME


def sound(name: str, *options: str, suffix: str = "mp4", padding: int = 0, **more: Any) -> Cell:
    of_cell = ("looks", "short", "beeps", "sound_end", "sound_clock", "advice", "audio_track")
    cell = {key: more.pop(key) for key in of_cell if key in more}
    recipe = Recipe(suffix, sound=options or AAC, **more)
    return Cell(name, "sound", recipe, rate=F(25), padding=padding, **cell)


def heard(outcome: Outcome) -> list[str]:
    """Check in windows of 20 ms that the quiet tone is continuous, without gaps or clicks."""
    found = []
    for period in outcome.periods:
        assert period.sound is not None
        recipe = outcome.cell.recipe
        begin, end = (max(0, round(at * 48000)) for at in (recipe.sound_from, recipe.sound_end))
        body = period.sound.samples[begin + 2400 : end - 2400]
        windows = body[: len(body) // 960 * 960].reshape(-1, 960)
        quiet = windows[np.abs(windows).max(axis=1) < 4 * QUIET]
        power = np.sqrt((quiet**2).mean(axis=1))
        usual = float(np.median(power))
        holes = int((power < usual / 4).sum())
        if usual < QUIET / 8 or holes:
            found.append(f"{holes} of {len(power)} windows are silent; the usual power is {usual:.4f}")
    return found


def both_sides(outcome: Outcome) -> list[str]:
    """Check that left and right are equally loud, so that no channel was lost in the downmix."""
    import io

    import av

    audio = outcome.periods[0].renditions["audio"]
    with av.open(io.BytesIO(audio.data), "r") as container:
        sides = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    power = np.sqrt((sides**2).mean(axis=1))
    return [] if power.min() > power.max() / 2 else [f"the sides are {power[0]:.3f} and {power[1]:.3f} loud"]


def efficient(source: Path, target: Path) -> None:
    """Signal AAC-LC at 24 kHz as HE-AAC, which is valid: a stream whose upper half of the spectrum is empty.

    The decoder then outputs 48 kHz, 2048 samples per frame, delayed by its filter bank of 962 samples.
    """
    tags = []
    for tag in read_tags(source):
        if tag.kind == SOUND and tag.header:
            # AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1): object type 5, 24 kHz, stereo, extension 48 kHz, object type 2.
            bits = f"{5:05b}{6:04b}{2:04b}{3:04b}{2:05b}000"
            bits += "0" * (-len(bits) % 8)
            config = int(bits, 2).to_bytes(len(bits) // 8, "big")
            tag = type(tag)(tag.kind, tag.ms, tag.body[:2] + config)
        elif tag.kind == SOUND:
            tag = type(tag)(tag.kind, max(0, tag.ms - 20), tag.body)
        tags.append(tag)
    write_tags(target, sorted(tags, key=lambda tag: tag.ms))


def with_second(source: Path, target: Path) -> None:
    """Add a second audio track, without beeps."""
    ffmpeg(
        "-i",
        str(source),
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=300:sample_rate=48000:duration=5",
        "-map",
        "0:v",
        "-map",
        "0:a",
        "-map",
        "1:a",
        "-c:v",
        "copy",
        "-c:a",
        "aac",
        str(target),
    )


def with_another_first(source: Path, target: Path) -> None:
    """Add another audio track before the source's own."""
    other = target.with_name("other.mkv")
    with_second(source, other)
    ffmpeg("-i", str(other), "-map", "0:v", "-map", "0:a:1", "-map", "0:a:0", "-c", "copy", str(target))
    other.unlink()


def with_cover(source: Path, target: Path) -> None:
    """Audio with cover art."""
    ffmpeg(
        "-i",
        str(source),
        "-f",
        "lavfi",
        "-i",
        "color=red:size=64x64:rate=1:duration=1",
        "-map",
        "0:a",
        "-map",
        "1:v",
        "-frames:v",
        "1",
        "-c:a",
        "copy",
        "-c:v",
        "mjpeg",
        "-disposition:v",
        "attached_pic",
        str(target),
    )


def lossy(first: float, after: float) -> Callable[[Path, Path], None]:
    """Drop the audio packets between these times in seconds."""
    return retimed(
        lambda tag: None if tag.kind == SOUND and not tag.header and first <= tag.ms / 1000 < after else tag.ms
    )


DRIFT = F(501, 500)


def drifting(source: Path, target: Path) -> None:
    """Audio with a slow clock: its timestamps grow by 1/500 more than its samples."""
    remux(source, target, sound=lambda time: time * DRIFT)


def alone(name: str, suffix: str, *options: str, **more: Any) -> Cell:
    """Audio without video."""
    padding = {"m4a": 0, "mp4": 0}.get(suffix, UNTOLD)
    return Cell(
        name,
        "sound alone",
        Recipe(suffix, frames=150, codec=None, sound=options or AAC, **more),
        sizes={},
        padding=padding,
        lead=AAC_FRAME if suffix in ("flv", "aac", "ts") else 0,
    )


def longer(by: Fraction, name: str = "", **more: Any) -> Cell:
    """Audio that is longer than the video: the last frame is repeated."""
    padding, segment_s = more.pop("padding", 0), more.pop("segment_s", 1)
    recipe = Recipe(**more)
    end = Fraction(ceil((recipe.end + by) * recipe.rate)) / recipe.rate
    called = f"ends {float(by):g} s after the pictures{f', {name}' if name else ''}"
    recipe = replace(recipe, sound_until=end)
    return Cell(called, "sound", recipe, rate=recipe.rate, end=end, padding=padding, segment_s=segment_s)


def few_segments(outcome: Outcome) -> list[str]:
    """Check that the number of audio segments matches the audio's length."""
    count, length = len(outcome.periods[0].renditions["audio"].segments), outcome.cell.due_sound_end
    return [] if count <= length / outcome.cell.segment_s + 5 else [f"{count} segments of sound"]


def song(length: Fraction, rate: Fraction) -> Cell:
    """A song with a single video frame, of any frame rate."""
    recipe = Recipe(rate=rate, frames=1, sound_until=length)
    name = f"one picture at {rate} fps for {length} s"
    return Cell(name, "sound", recipe, rate=rate, end=length, segment_s=2, looks=(few_segments,))


def covered(name: str, suffix: str, *sound: str) -> Cell:
    """A song of two minutes with cover art."""
    cell = alone(name, suffix, *sound, rework=with_cover, first=suffix)
    recipe = replace(cell.recipe, frames=3000)
    return replace(cell, recipe=recipe, segment_s=2, looks=(few_segments,), short=True)


CELLS = [
    sound("AAC-LC, 44.1 kHz", sample_rate=44100, looks=(heard,)),
    sound(
        "AAC-LC, 44.1 kHz in FLV",
        suffix="flv",
        codec=PLAIN,
        sample_rate=44100,
        padding=UNTOLD,
        looks=(heard,),
        short=True,
    ),
    sound(
        "AAC-LC, 22.05 kHz mono in FLV", suffix="flv", codec=PLAIN, sample_rate=22050, channels=1, padding=2 * UNTOLD
    ),
    sound("AAC-LC, 96 kHz", sample_rate=96000, looks=(heard,)),
    sound(
        "HE-AAC",
        "-c:a",
        "aac",
        "-b:a",
        "96k",
        suffix="flv",
        codec=PLAIN,
        sample_rate=24000,
        rework=efficient,
        first="flv",
        padding=2 * UNTOLD,
        looks=(heard,),
    ),
    sound("MP3", "-c:a", "libmp3lame", looks=(heard,)),
    sound(
        "MP3 in FLV, 44.1 kHz",
        "-c:a",
        "libmp3lame",
        suffix="flv",
        codec=PLAIN,
        sample_rate=44100,
        padding=UNTOLD,
        looks=(heard,),
    ),
    sound("Opus", "-c:a", "libopus", suffix="mkv", looks=(heard,)),
    sound("Opus in MP4", "-c:a", "libopus", looks=(heard,)),
    sound("Vorbis", "-c:a", "libvorbis", suffix="mkv", padding=UNTOLD, looks=(heard,)),
    sound("AC-3, stereo", "-c:a", "ac3", suffix="ts", padding=2 * UNTOLD, looks=(heard,)),
    sound(
        "AC-3, 5.1", "-c:a", "ac3", suffix="ts", channels=6, padding=2 * UNTOLD, looks=(heard, both_sides), short=True
    ),
    sound("E-AC-3, 5.1", "-c:a", "eac3", channels=6, padding=UNTOLD, looks=(heard, both_sides)),
    sound("AAC, 5.1", channels=6, looks=(heard, both_sides)),
    sound(
        "AAC, 7.1",
        "-c:a",
        "aac",
        "-b:a",
        "512k",
        "-af",
        "aformat=channel_layouts=7.1",
        channels=8,
        looks=(heard, both_sides),
    ),
    sound("PCM, 48 kHz", "-c:a", "pcm_s16le", suffix="mov", looks=(heard,)),
    sound(
        "PCM, 44.1 kHz, 24 bits, mono",
        "-c:a",
        "pcm_s24le",
        suffix="mov",
        sample_rate=44100,
        channels=1,
        looks=(heard, both_sides),
    ),
    sound(
        "A-law, 8 kHz, mono", "-c:a", "pcm_alaw", suffix="mkv", sample_rate=8000, channels=1, looks=(heard, both_sides)
    ),
    sound("FLAC", "-c:a", "flac", suffix="mkv", looks=(heard,)),
    sound("mono", channels=1, looks=(heard, both_sides)),
    Cell("no sound at all", "sound", Recipe(sound=None), rate=F(25), short=True),
    Cell("no sound at all in FLV", "sound", Recipe("flv", codec=PLAIN, sound=None), rate=F(25)),
    sound("ends before the pictures", sound_until=F(33, 10)),
    sound("ends before the pictures in FLV", suffix="flv", codec=PLAIN, sound_until=F(33, 10)),
    *(longer(seconds) for seconds in (F(1, 2), F(1), F(38, 25), F(5))),
    longer(F(60), segment_s=2),
    longer(
        F(5),
        "the last keyframe far from the end",
        codec=(*H264, "-force_key_frames", "expr:eq(n,0)+eq(n,60)"),
        gop=1000,
    ),
    longer(F(5), "in FLV", suffix="flv", codec=PLAIN, padding=UNTOLD),
    longer(F(5), "29.97 fps", rate=F(30000, 1001), frames=150),
    song(F(120), F(25)),
    song(F(9), F(1)),
    sound("begins in mid-stream", suffix="flv", codec=PLAIN, frames=150, sound_from=F(5, 2), padding=UNTOLD),
    sound("begins 4 s in, in MP4", frames=200, sound_from=F(4)),
    sound("0.7 s are lost", suffix="flv", codec=PLAIN, rework=lossy(2.25, 2.95), first="flv", padding=UNTOLD),
    sound(
        "clock that drifts by 1 in 500", suffix="mkv", frames=250, rework=drifting, padding=UNTOLD, sound_clock=DRIFT
    ),
    sound("two tracks, the first", suffix="mkv", rework=with_second, padding=UNTOLD),
    sound("two tracks, the second", suffix="mkv", rework=with_another_first, padding=UNTOLD, audio_track=2, short=True),
    alone("AAC in M4A", "m4a"),
    alone("AAC in FLV", "flv"),
    alone("MP3 file", "mp3", "-c:a", "libmp3lame"),
    alone("MP3, 44.1 kHz, mono", "mp3", "-c:a", "libmp3lame", sample_rate=44100, channels=1),
    alone("Opus in Ogg", "ogg", "-c:a", "libopus"),
    alone("WAV", "wav", "-c:a", "pcm_s16le"),
    alone("ADTS", "aac"),
    alone("AAC in MPEG-TS", "ts"),
    covered("M4A with a cover picture (covr)", "m4a"),
    covered("MP3 with a cover picture (APIC)", "mp3", "-c:a", "libmp3lame"),
]
