"""Which tracks of an open source are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from av.container import InputContainer
from av.stream import Discard, Disposition

from streamwave.ffmpeg.admission import is_cover
from streamwave.ffmpeg.encrypted import is_encrypted

#: The format whose video tracks are the same pictures in several sizes.
_OF_VARIANTS = "hls"
_TEXT_ART = frozenset({"ansi", "bintext", "idf", "xbin"})


def tracks(container: InputContainer, audio_track: int | None = None) -> tuple[Any, Any]:
    """The video and the audio track that are used, each None if there is none; cover pictures are no video.

    Without ``audio_track`` (from 0), or where there are fewer, the first audio track that ``is_usable`` is used.
    """
    video = _pictures(container)
    sound = sounds(container)
    if audio_track is not None and audio_track < len(sound):
        return video, sound[audio_track]
    return video, next(filter(is_usable, sound), None)


def sounds(container: InputContainer) -> list[Any]:
    """The audio tracks that may be chosen from: of the programme that the pictures belong to, where there are several."""
    sound: list[Any] = list(container.streams.audio)
    video = _pictures(container)
    if video is None or len(sound) < 2:
        return sound
    # PyAV does not list programmes; libavformat looks for the best track in that of another one, and finds the same one
    # for all tracks of a programme.
    best = container.streams.best("audio", related=video)
    return [one for one in sound if container.streams.best("audio", related=one) is best] or sound


def is_usable(stream: Any) -> bool:
    """Whether a track can be decoded here."""
    return stream.codec_context is not None and not is_encrypted(stream)


def leave_out(container: InputContainer, used: Sequence[Any]) -> None:
    """Have a playlist's variants that are not ``used`` no longer fetched."""
    for stream in container.streams if container.format.name == _OF_VARIANTS else ():
        stream.discard = Discard.default if stream in used else Discard.all


def pictures(container: InputContainer) -> list[Any]:
    """The video tracks that may be chosen from; the variants of a playlist, which show the same, are one."""
    video = [one for one in container.streams.video if not (is_cover(one) or _is_text(one) or _is_preview(one))]
    return [max(video, key=_size)] if video and container.format.name == _OF_VARIANTS else video


def _pictures(container: InputContainer) -> Any:
    """The video track that is used: of those that can be decoded the default one, else, or of several, the largest."""
    video = pictures(container)
    usable = [one for one in video if is_usable(one)] or video
    # In MP4, default is a track that is enabled.
    default = [one for one in usable if one.disposition & Disposition.default] or usable
    return max(default, key=_size, default=None)


def _is_preview(stream: Any) -> bool:
    return bool(getattr(stream.disposition, "value", 0) & 0x800)  # AV_DISPOSITION_TIMED_THUMBNAILS


def _size(stream: Any) -> tuple[int, int]:
    """In pixels, and in bits per second as the playlist states them."""
    context, stated = stream.codec_context, stream.metadata.get("variant_bitrate", "")
    return context.width * context.height if context is not None else 0, int(stated) if stated.isdecimal() else 0


def _is_text(stream: Any) -> bool:
    # libavformat takes any .txt for art in text mode, which it plays like a terminal.
    return stream.codec_context is not None and stream.codec_context.name in _TEXT_ART
