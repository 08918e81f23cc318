"""Advice to publishers about their encoder settings: a code for programs, a sentence for people.

It is found while a stream is received (and then goes to the journal, and from there to the status), and by
``streamwave probe`` in the first packets of a source. The run adds advice to operators while the stream is late.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from streamwave.ffmpeg.meter import Slots
from streamwave.model import Frozen, Rendition, SourceInfo
from streamwave.timing import round_half_up

Code = Literal[
    "keyframes-rare",
    "keyframe-missing",
    "b-frames-live",
    "bitrate-low",
    "bitrate-high",
    "size-changed",
    "rate-changed",
    "rate-varies",
    "clock-jumped",
    "clock-drift",
    "sound-early",
    "sound-missing",
    "sound-late",
    "sound-slips",
    "pictures-late",
    "damaged",
    "pictures-lost",
    "tracks-added",
    "track-undecodable",
    "track-encrypted",
    "track-chosen",
    "rate-capped",
    "encoding-slow",
    "network-slow",
    "output-slow",
    "prefect-slow",
    "machine-slow",
    "chunks-in-flight-few",
]

#: A keyframe interval above this makes chunks, and with them the latency, longer than necessary.
KEYFRAMES_RARE_MS = 4000
#: A live source without a keyframe for this long is split without one, which is late and requires repeated decoding.
KEYFRAME_MISSING_MS = 12_000
#: Total of inserted silence or dropped samples above which audio and video are considered to have different clocks.
SLIP_MS = 200
#: Length of audio before the first video frame that is reported.
EARLY_S = Fraction(1)
#: A live source without audio for this long may lack it by mistake.
SOUND_MISSING_MS = 3000
#: Clock drift of the source against ours is measured over at least this time, and reported above ``DRIFT_MS``.
DRIFT_OVER_MS = 60_000
DRIFT_MS = 1000
#: Bit rate of the source relative to the top rendition's maximum: below the first, quality is lower than the ladder allows;
#: above the second, most of it is wasted.
BITRATE_LOW, BITRATE_HIGH = Fraction(1, 4), Fraction(3)


_KEY_INTERVAL = "set the encoder's keyframe interval to 2 s"
_KEY_INTERVAL_OF_A_FILE = "with a keyframe every 2 s, segments are shorter and seeking is more precise"


class Advice(Frozen):
    """One thing that the publisher could improve; ``at_ms`` is when it was first seen, counted from the session's origin."""

    code: Code
    text: str
    at_ms: int = 0


def keyframes_rare(apart_ms: int, at_ms: int = 0, *, live: bool = True) -> Advice:
    """Keyframes are up to ``apart_ms`` apart."""
    what = "which increases the latency" if live else "and so are the positions that players can seek to"
    return Advice(
        code="keyframes-rare",
        text=f"keyframes are {_s(apart_ms)} s apart, {what}; {_KEY_INTERVAL if live else _KEY_INTERVAL_OF_A_FILE}",
        at_ms=at_ms,
    )


def keyframe_missing(since_ms: int, at_ms: int = 0, *, live: bool = True) -> Advice:
    """No keyframe for ``since_ms``."""
    said = f"no keyframe has arrived for {_s(since_ms)} s, which increases the latency by as much; {_KEY_INTERVAL}"
    if not live:
        said = f"there is no keyframe for {_s(since_ms)} s or longer; {_KEY_INTERVAL_OF_A_FILE}"
    return Advice(
        code="keyframe-missing",
        text=said,
        at_ms=at_ms,
    )


def b_frames_live(at_ms: int = 0) -> Advice:
    """A live stream uses frame reordering."""
    return Advice(
        code="b-frames-live",
        text="the encoder uses B-frames, which delay a live stream; set them to 0, or tune for zero latency",
        at_ms=at_ms,
    )


def bitrate(source_bps: int, renditions: tuple[Rendition, ...], at_ms: int = 0) -> Advice | None:
    """The source's video bit rate is far below or far above the maximum of the top rendition; None if it is neither."""
    top = max((r.max_bps for r in renditions if r.kind == "video"), default=0)
    if not top or not source_bps:
        return None
    said = f"the source's video has {source_bps // 1000} kbit/s, the top rendition up to {top // 1000}"
    if source_bps < top * BITRATE_LOW:
        return Advice(code="bitrate-low", text=f"{said}; a higher bit rate would look better", at_ms=at_ms)
    if source_bps > top * BITRATE_HIGH:
        return Advice(code="bitrate-high", text=f"{said}; a lower bit rate is sufficient", at_ms=at_ms)
    return None


def size_changed(before: tuple[int, int], after: tuple[int, int], at_ms: int = 0) -> Advice:
    """The frame size changed within a connection; sizes are (width, height) in pixels."""
    sizes = " to ".join(f"{width}x{height}" for width, height in (before, after))
    return Advice(
        code="size-changed",
        text=f"the frame size changed from {sizes}; playback may be interrupted briefly there",
        at_ms=at_ms,
    )


def rate_changed(before: Fraction, after: Fraction, at_ms: int = 0) -> Advice:
    """The frame rate changed within a connection."""
    return Advice(
        code="rate-changed",
        text=f"the frame rate changed from {_rate(before)} to {_rate(after)} per second; playback may be interrupted "
        "briefly there",
        at_ms=at_ms,
    )


def rate_varies(grid: Fraction, *, live: bool = True) -> Advice:
    """The frame rate is not constant."""
    said = f"the frame rate varies; it is converted to a constant {_rate(grid)} per second"
    return Advice(code="rate-varies", text=f"{said}; set a constant rate in the encoder" if live else said)


def clock_jumped(jumps: int, at_ms: int = 0, *, live: bool = True) -> Advice:
    """Timestamps jumped ``jumps`` times."""
    remedy = "restart the encoder if this continues" if live else "nothing needs to be done if nothing is missing"
    return Advice(
        code="clock-jumped",
        text=f"the source's timestamps have jumped ({jumps}x) and were corrected; {remedy}",
        at_ms=at_ms,
    )


def clock_drift(drift_ms: int, over_ms: int, at_ms: int = 0) -> Advice:
    """Media time and wall clock have drifted apart; positive: the source sends too little."""
    how = "less" if drift_ms > 0 else "more"
    return Advice(
        code="clock-drift",
        text=f"the source has sent {_s(abs(drift_ms))} s {how} than the {_s(over_ms)} s that have passed; "
        "check the encoder's load, its clock and the network",
        at_ms=at_ms,
    )


def sound_slips(slip_ms: int, at_ms: int = 0, *, live: bool = True) -> Advice:
    """Audio was padded with silence (positive) or cut (negative) to match its timestamps."""
    how = "shorter than its timestamps and padded with silence" if slip_ms > 0 else "longer than its timestamps and cut"
    remedy = "check the sample rate and the clock of the sound card"
    if not live:
        remedy = "if it is out of sync with the video, export the file again"
    return Advice(
        code="sound-slips",
        text=f"the audio is {_s(abs(slip_ms))} s {how}; {remedy}",
        at_ms=at_ms,
    )


def sound_early(before_s: Fraction, *, live: bool = True) -> Advice | None:
    """Audio began ``before_s`` seconds before the first video frame; None if that is short."""
    if before_s < EARLY_S:
        return None
    remedy = "start both at the same time" if live else "to keep it, add video before the first frame"
    return Advice(
        code="sound-early",
        text=f"the audio begins {_s(round_half_up(before_s * 1000))} s or more before the first video frame, and is "
        f"dropped until then; {remedy}",
    )


def sound_missing(since_ms: int) -> Advice | None:
    """No audio has arrived in the first ``since_ms`` of a live stream; None if that is short."""
    if since_ms < SOUND_MISSING_MS:
        return None
    return Advice(
        code="sound-missing",
        text=f"no audio has arrived for {_s(since_ms)} s, so viewers hear silence; if there should be audio, check "
        "the encoder's audio source and track",
        at_ms=since_ms,
    )


def sound_late(at_ms: int) -> Advice | None:
    """Audio began ``at_ms`` after the first video frame; None if that is short."""
    if at_ms < SOUND_MISSING_MS:
        return None
    return Advice(
        code="sound-late",
        text=f"audio began {_s(at_ms)} s into the stream; before that, viewers hear silence; have the encoder "
        "send audio from the start",
        at_ms=at_ms,
    )


def pictures_late(at_ms: int, *, live: bool = True) -> Advice:
    """Video began ``at_ms`` after the audio, which is published alone."""
    remedy = "restart the stream, so that it begins with both" if live else "split the file there to have both"
    return Advice(
        code="pictures-late",
        text=f"video began {_s(at_ms)} s after the audio and is left out; {remedy}",
        at_ms=at_ms,
    )


def sound_unheard(at_ms: int) -> Advice:
    """Audio that was not announced began in a source that is transcoded as a file."""
    return Advice(
        code="sound-late",
        text=f"audio began {_s(at_ms)} s into the source without being announced, and is left out; receive the source as a "
        "live stream, with streamwave run",
        at_ms=at_ms,
    )


def damaged(places: int, at_ms: int = 0, *, live: bool = True) -> Advice:
    """The source was damaged in ``places`` places."""
    remedy = (
        "check the network between encoder and server"
        if live
        else "if you have another copy that plays better, use that"
    )
    return Advice(
        code="damaged",
        text=f"{places} damaged places in the source were skipped; {remedy}",
        at_ms=at_ms,
    )


def pictures_lost(count: int, at_ms: int = 0) -> Advice:
    """Frames that cannot be decoded, because their reference frames never arrived, or that have no timestamp."""
    return Advice(
        code="pictures-lost",
        text=f"{count} video frames were dropped, because they lack their reference frames or a timestamp",
        at_ms=at_ms,
    )


def tracks_added(at_ms: int = 0) -> Advice:
    """Tracks began in mid-stream, after the source was opened."""
    return Advice(
        code="tracks-added",
        text="tracks that began in mid-stream are left out; restart the stream when its tracks "
        "change, or split the file there",
        at_ms=at_ms,
    )


def _s(ms: int) -> str:
    return f"{ms // 1000}.{ms % 1000 // 100}"


def _rate(rate: Fraction) -> str:
    return f"{float(rate):.2f}".rstrip("0").rstrip(".")


def of_tracks(source: SourceInfo) -> list[Advice]:
    """Advice about the tracks of a source: which of several are used, and which cannot be used."""
    return [one for one in (undecodable(source), _encrypted(source), _chosen(source)) if one is not None]


def _encrypted(source: SourceInfo) -> Advice | None:
    """Encrypted audio tracks, if another track is used instead."""
    if not source.encrypted or source.audio is None or source.audio_number < min(source.encrypted):
        return None
    said = f"{_numbered(source.encrypted)} cannot be used without a key, so track {source.audio_number} is used"
    return Advice(code="track-encrypted", text=f"encrypted {said}; decrypt the file with its key to use the other")


def _chosen(source: SourceInfo) -> Advice | None:
    """Which of several video tracks is used."""
    video = source.video
    if video is None or source.video_tracks < 2:
        return None
    return Advice(
        code="track-chosen",
        text=f"video track {source.video_number} of {source.video_tracks} is used ({video.width}x{video.height}), which is "
        "the default one, or else the largest, of those that can be decoded; to use another, copy it into a file of its own",
    )


def rate_capped(rate: Fraction, grid: Fraction, *, live: bool = True) -> Advice:
    """The source's frame rate is above that of the renditions, ``grid``."""
    remedy = f"set the encoder to {_rate(grid)} or less" if live else "nothing needs to be done if that is sufficient"
    return Advice(
        code="rate-capped",
        text=f"the source has {round_half_up(rate)} frames per second, and the renditions keep {_rate(grid)}, which is their "
        f"maximum; {remedy}",
    )


def _numbered(numbers: tuple[int, ...]) -> str:
    named = " and ".join(str(number) for number in numbers)
    return f"audio track {named}" if len(numbers) == 1 else f"audio tracks {named}"


def undecodable(source: SourceInfo) -> Advice | None:
    """Audio tracks without a decoder, if another track or none is used instead."""
    if not source.undecodable:
        return None
    which = _numbered(source.undecodable)
    if source.audio is not None and source.audio_number < min(source.undecodable):
        return None  # they would not have been used anyway
    instead = f"track {source.audio_number} is used" if source.audio is not None else "there is no audio"
    remedy = "convert it to AAC" if len(source.undecodable) == 1 else "convert one of them to AAC"
    return Advice(code="track-undecodable", text=f"there is no decoder for {which}, so {instead}; {remedy}")


def falls_behind(stage: str, seconds: float, slots: Slots, *, waiting: int, lag_ms: int) -> Advice:
    """The stream is late by ``lag_ms``: its chunks spend ``seconds`` each in ``stage``, a ``meter.Stage``.

    The stage ``in-flight`` means that more chunks could be in flight. ``waiting`` chunks have no slot.
    """
    remote = "://" in slots.at
    where = "on workers" if remote else "on this machine"
    idle = (
        f"workers are idle ({slots.slots - slots.busy} of {slots.slots} slots)"
        if remote
        else f"{slots.at} has idle slots"
    )
    busy = f"{slots.busy} of {slots.slots} slots are busy, {waiting} chunks wait"
    late = f"{_s(lag_ms)} s behind"
    add = "add workers" if remote else "add workers (docs/howto/workers.md), or set a faster STREAMWAVE_PRESET"
    each = f"{seconds:.1f} s per chunk"
    found: dict[str, tuple[Code, str]] = {
        "wait": ("encoding-slow", f"encoding {where} lags, {late}: {busy}; {add}"),
        "transfer": (
            "network-slow",
            f"{late} while {idle}: the way to workers and back takes {each}; check the network and the scheduler",
        ),
        "store": ("output-slow", f"{late} while {idle}: the output is slow, {each}; check it and the network to it"),
        "dispatch": (
            "prefect-slow",
            f"{late} while {idle}: Prefect takes {each} to start a transcode; check its server and this machine's load",
        ),
        "package": (
            "machine-slow",
            f"{late} while {idle}: packaging takes {each}; check the CPU and the disk of the machine that runs the stream",
        ),
        "in-flight": (
            "chunks-in-flight-few",
            f"{late} while {idle}: raise STREAMWAVE_MAX_CHUNKS_IN_FLIGHT to at least the number of all slots",
        ),
    }
    code, text = found[stage]
    return Advice(code=code, text=text)
