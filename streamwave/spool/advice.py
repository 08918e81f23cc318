"""What a publisher could do better, as records: a code for programs, a sentence for people.

Found while a stream is received (they go into the journal and from there into its status), and by a quick look through
the first packets of a source (``streamwave probe``).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

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
]

#: Keyframes that are further apart than this make chunks, and with them the latency, longer than they need be.
KEYFRAMES_RARE_MS = 4000
#: A live source without a keyframe for this long is cut without one, late and at the price of decoding it repeatedly.
KEYFRAME_MISSING_MS = 12_000
#: Silence put in or samples taken out, in all, beyond which sound and pictures do not have the same clock.
SLIP_MS = 200
#: Sound before the first picture that is worth a word.
EARLY_S = Fraction(1)
#: A live source without sound for this long may lack it by mistake.
SOUND_MISSING_MS = 3000
#: The source's clock against ours, over at least this long.
DRIFT_OVER_MS = 60_000
DRIFT_MS = 1000
#: A source below this share of the top rendition's maximum looks worse than the ladder allows; one above this many times
#: of it is thrown away.
BITRATE_LOW, BITRATE_HIGH = Fraction(1, 4), Fraction(3)


_KEY_INTERVAL = "set the encoder's keyframe interval to 2 s"
_KEY_INTERVAL_OF_A_FILE = "a file that was made with one every 2 s is cut and sought more finely"


class Advice(Frozen):
    """One thing that the publisher could mend; ``at_ms`` is when it was first seen, since the session's origin."""

    code: Code
    text: str
    at_ms: int = 0


def keyframes_rare(apart_ms: int, at_ms: int = 0, *, live: bool = True) -> Advice:
    """The greatest distance of two keyframes."""
    what = "which delays viewers" if live else "and so are the places that players can begin at"
    return Advice(
        code="keyframes-rare",
        text=f"keyframes are {_s(apart_ms)} s apart, {what}; {_KEY_INTERVAL if live else _KEY_INTERVAL_OF_A_FILE}",
        at_ms=at_ms,
    )


def keyframe_missing(since_ms: int, at_ms: int = 0, *, live: bool = True) -> Advice:
    """No keyframe for a long time."""
    said = f"no keyframe has come for {_s(since_ms)} s, so viewers see everything as late as that; {_KEY_INTERVAL}"
    if not live:
        said = f"there is no keyframe for {_s(since_ms)} s or longer; {_KEY_INTERVAL_OF_A_FILE}"
    return Advice(
        code="keyframe-missing",
        text=said,
        at_ms=at_ms,
    )


def b_frames_live(at_ms: int = 0) -> Advice:
    """Pictures are reordered in a live stream."""
    return Advice(
        code="b-frames-live",
        text="the encoder uses B-frames, which delay a live stream; set them to 0, or tune for zero latency",
        at_ms=at_ms,
    )


def bitrate(source_bps: int, renditions: tuple[Rendition, ...], at_ms: int = 0) -> Advice | None:
    """Whether the source's video has far fewer or far more bits per second than the ladder's top rung makes of it."""
    top = max((r.max_bps for r in renditions if r.kind == "video"), default=0)
    if not top or not source_bps:
        return None
    said = f"the source's video has {source_bps // 1000} kbit/s, the top rendition up to {top // 1000}"
    if source_bps < top * BITRATE_LOW:
        return Advice(code="bitrate-low", text=f"{said}; more would look better", at_ms=at_ms)
    if source_bps > top * BITRATE_HIGH:
        return Advice(code="bitrate-high", text=f"{said}; so much is not needed", at_ms=at_ms)
    return None


def size_changed(before: tuple[int, int], after: tuple[int, int], at_ms: int = 0) -> Advice:
    """The pictures became larger or smaller within a connection; sizes are (width, height) in pixels."""
    sizes = " to ".join(f"{width}x{height}" for width, height in (before, after))
    return Advice(
        code="size-changed", text=f"the picture's size changed from {sizes}; players start anew there", at_ms=at_ms
    )


def rate_changed(before: Fraction, after: Fraction, at_ms: int = 0) -> Advice:
    """The frame rate became another one within a connection."""
    return Advice(
        code="rate-changed",
        text=f"the frame rate changed from {_rate(before)} to {_rate(after)} per second; players start anew there",
        at_ms=at_ms,
    )


def rate_varies(grid: Fraction, *, live: bool = True) -> Advice:
    """Pictures do not come at a constant rate."""
    said = f"the frame rate varies; a constant one of {_rate(grid)} per second is made of it"
    return Advice(code="rate-varies", text=f"{said}; set a constant one in the encoder" if live else said)


def clock_jumped(jumps: int, at_ms: int = 0, *, live: bool = True) -> Advice:
    """Timestamps jumped."""
    remedy = "restart the encoder if it goes on" if live else "nothing needs to be done if all of it is there"
    return Advice(
        code="clock-jumped",
        text=f"the source's timestamps have jumped ({jumps}x) and were mended; {remedy}",
        at_ms=at_ms,
    )


def clock_drift(drift_ms: int, over_ms: int, at_ms: int = 0) -> Advice:
    """Media time and wall clock have grown apart; positive: the source sends too little."""
    how = "less" if drift_ms > 0 else "more"
    return Advice(
        code="clock-drift",
        text=f"the source has sent {_s(abs(drift_ms))} s {how} than the {_s(over_ms)} s that have passed; "
        "check the encoder's load, its clock and the network",
        at_ms=at_ms,
    )


def sound_slips(slip_ms: int, at_ms: int = 0, *, live: bool = True) -> Advice:
    """Sound was stretched with silence (positive) or cut (negative) to stay with its timestamps."""
    how = "short of its timestamps and filled with silence" if slip_ms > 0 else "longer than its timestamps and cut"
    remedy = "check the sample rate and the clock of the sound card"
    if not live:
        remedy = "if it is out of step with the pictures, export the file again"
    return Advice(
        code="sound-slips",
        text=f"the sound is {_s(abs(slip_ms))} s {how}; {remedy}",
        at_ms=at_ms,
    )


def sound_early(before_s: Fraction, *, live: bool = True) -> Advice | None:
    """Sound came ``before_s`` seconds before the first picture; None if that is little."""
    if before_s < EARLY_S:
        return None
    remedy = "have both begin at the same time" if live else "to keep it, put a picture before the first one"
    return Advice(
        code="sound-early",
        text=f"the sound begins {_s(round_half_up(before_s * 1000))} s or more before the first picture, and is left out up to "
        f"there; {remedy}",
    )


def sound_missing(since_ms: int) -> Advice | None:
    """No sound has come for the first ``since_ms`` of a live stream; None if that is little."""
    if since_ms < SOUND_MISSING_MS:
        return None
    return Advice(
        code="sound-missing",
        text=f"no sound has come for {_s(since_ms)} s, so viewers hear silence until it does; if there should be sound, check "
        "the encoder's audio source and track",
        at_ms=since_ms,
    )


def sound_late(at_ms: int) -> Advice | None:
    """Sound began ``at_ms`` after the first picture; None if that is soon."""
    if at_ms < SOUND_MISSING_MS:
        return None
    return Advice(
        code="sound-late",
        text=f"sound began {_s(at_ms)} s into the stream; viewers hear it from there on, and silence before; have the encoder "
        "send sound from the start",
        at_ms=at_ms,
    )


def pictures_late(at_ms: int, *, live: bool = True) -> Advice:
    """Pictures began ``at_ms`` after the sound, which is published alone."""
    remedy = "stop and start the stream, so that it begins with both" if live else "split the file there to have both"
    return Advice(
        code="pictures-late",
        text=f"pictures began {_s(at_ms)} s after the sound and are left out; {remedy}",
        at_ms=at_ms,
    )


def sound_unheard(at_ms: int) -> Advice:
    """Sound began in what is transcoded as a file, of which nothing told that there would be any."""
    return Advice(
        code="sound-late",
        text=f"sound began {_s(at_ms)} s into the source without being announced and cannot be heard; receive it as a live "
        "stream, with streamwave run",
        at_ms=at_ms,
    )


def damaged(places: int, at_ms: int = 0, *, live: bool = True) -> Advice:
    """Something could not be read or decoded."""
    remedy = "check the network between encoder and server" if live else "if another copy of it plays better, take that"
    return Advice(
        code="damaged",
        text=f"{places} damaged places in the source were passed over; {remedy}",
        at_ms=at_ms,
    )


def pictures_lost(count: int, at_ms: int = 0) -> Advice:
    """Pictures that cannot be decoded, because what they refer to never came."""
    return Advice(
        code="pictures-lost",
        text=f"{count} pictures refer to ones that were not sent, or bear no time, and are left out",
        at_ms=at_ms,
    )


def tracks_added(at_ms: int = 0) -> Advice:
    """Tracks began in mid-stream, which were not there when the source was opened."""
    return Advice(
        code="tracks-added",
        text="tracks that began in mid-stream are left out, and what they hold is missing; end the stream where its tracks "
        "change and begin a new one, or split the file there",
        at_ms=at_ms,
    )


def _s(ms: int) -> str:
    return f"{ms // 1000}.{ms % 1000 // 100}"


def _rate(rate: Fraction) -> str:
    return f"{float(rate):.2f}".rstrip("0").rstrip(".")


def of_tracks(source: SourceInfo) -> list[Advice]:
    """Which of several tracks of a source are used, and which cannot be."""
    return [one for one in (undecodable(source), _encrypted(source), _chosen(source)) if one is not None]


def _encrypted(source: SourceInfo) -> Advice | None:
    """Encrypted audio tracks, where another one is used in their place."""
    if not source.encrypted or source.audio is None or source.audio_number < min(source.encrypted):
        return None
    said = f"{_numbered(source.encrypted)} cannot be used without a key; track {source.audio_number} is used"
    return Advice(code="track-encrypted", text=f"encrypted {said}; decrypt the file with its key to have the other")


def _chosen(source: SourceInfo) -> Advice | None:
    """The video track that is used of several."""
    video = source.video
    if video is None or source.video_tracks < 2:
        return None
    return Advice(
        code="track-chosen",
        text=f"video track {source.video_number} of {source.video_tracks} is used ({video.width}x{video.height}), as the "
        "default or largest one; to use another, copy it into a file of its own",
    )


def rate_capped(rate: Fraction, grid: Fraction, *, live: bool = True) -> Advice:
    """The source has more pictures a second than the renditions' ``grid``."""
    remedy = f"set the encoder to {_rate(grid)} or less" if live else "nothing needs to be done if that is enough"
    return Advice(
        code="rate-capped",
        text=f"the source has {round_half_up(rate)} pictures per second, of which {_rate(grid)} are shown, as renditions "
        f"have no more; {remedy}",
    )


def _numbered(numbers: tuple[int, ...]) -> str:
    named = " and ".join(str(number) for number in numbers)
    return f"audio track {named}" if len(numbers) == 1 else f"audio tracks {named}"


def undecodable(source: SourceInfo) -> Advice | None:
    """Audio tracks of a source that no decoder here knows, where another one is used in their place, or none."""
    if not source.undecodable:
        return None
    which = _numbered(source.undecodable)
    if source.audio is not None and source.audio_number < min(source.undecodable):
        return None  # nobody would have heard them
    instead = f"track {source.audio_number} is used" if source.audio is not None else "there is silence"
    return Advice(code="track-undecodable", text=f"there is no decoder here for {which}; {instead}; convert it to AAC")
