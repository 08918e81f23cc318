"""Select the tracks of an open source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from av.container import InputContainer
from av.stream import Discard, Disposition

from streamwave.ffmpeg.admission import is_cover
from streamwave.ffmpeg.encrypted import is_encrypted

#: The format whose video tracks are the same content in several sizes.
_OF_VARIANTS = "hls"
_TEXT_ART = frozenset({"ansi", "bintext", "idf", "xbin"})


def tracks(container: InputContainer, audio_track: int | None = None) -> tuple[Any, Any]:
    """The video and audio tracks to use, each None if there is none. Cover pictures do not count as video.

    Without ``audio_track`` (from 0), or if there are fewer tracks, the first usable audio track is used.
    """
    video = _chosen_video(container)
    found = audio_tracks(container)
    if audio_track is not None and audio_track < len(found):
        return video, found[audio_track]
    return video, next(filter(is_usable, found), None)


def audio_tracks(container: InputContainer) -> list[Any]:
    """The audio tracks to choose from: those of the program that the video belongs to, if there are several programs."""
    found: list[Any] = list(container.streams.audio)
    video = _chosen_video(container)
    if video is None or len(found) < 2:
        return found
    # PyAV does not list programs. But libavformat can search for the best track in the program of a given track, so the result
    # is the same for all tracks of one program.
    best = container.streams.best("audio", related=video)
    return [one for one in found if container.streams.best("audio", related=one) is best] or found


def is_usable(stream: Any) -> bool:
    """Whether a track can be decoded: it is not encrypted, and there is a decoder."""
    return stream.codec_context is not None and not is_encrypted(stream)


def leave_out(container: InputContainer, used: Sequence[Any]) -> None:
    """Stop fetching the variants of a playlist that are not ``used``."""
    for stream in container.streams if container.format.name == _OF_VARIANTS else ():
        stream.discard = Discard.default if stream in used else Discard.all


def video_tracks(container: InputContainer) -> list[Any]:
    """The video tracks to choose from; the variants of a playlist have the same content and count as one."""
    video = [one for one in container.streams.video if not (is_cover(one) or _is_text(one) or _is_preview(one))]
    return [max(video, key=_size)] if video and container.format.name == _OF_VARIANTS else video


def _chosen_video(container: InputContainer) -> Any:
    """The video track to use: the default one of those that can be decoded; if that is ambiguous, the largest."""
    video = video_tracks(container)
    usable = [one for one in video if is_usable(one)] or video
    # In MP4, every enabled track is "default".
    default = [one for one in usable if one.disposition & Disposition.default] or usable
    return max(default, key=_size, default=None)


def _is_preview(stream: Any) -> bool:
    return bool(getattr(stream.disposition, "value", 0) & 0x800)  # AV_DISPOSITION_TIMED_THUMBNAILS


def _size(stream: Any) -> tuple[int, int]:
    """(Frame size in pixels, bit rate in bits per second as stated by the playlist)."""
    context, stated = stream.codec_context, stream.metadata.get("variant_bitrate", "")
    return context.width * context.height if context is not None else 0, int(stated) if stated.isdecimal() else 0


def _is_text(stream: Any) -> bool:
    # libavformat treats any .txt file as text-mode art, which it renders like a terminal.
    return stream.codec_context is not None and stream.codec_context.name in _TEXT_ART
