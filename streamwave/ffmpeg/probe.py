"""Probe a source in this process with PyAV. ``probing`` does it in a separate process, which hostile media may crash."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import av
import av.error
from av.container import InputContainer

from streamwave.errors import SourceError, UsageError
from streamwave.ffmpeg.admission import check_head, check_limits, lacked_memory, too_much_memory
from streamwave.ffmpeg.channels import in_usual_order
from streamwave.ffmpeg.encrypted import check_clear, encrypted_in, is_encrypted, mark, refusal
from streamwave.ffmpeg.examine import examine
from streamwave.ffmpeg.flv import announced
from streamwave.ffmpeg.formats import allowed_formats, counts_pictures
from streamwave.ffmpeg.h273 import MATRICES, PRIMARIES, TRANSFERS
from streamwave.ffmpeg.limits import USUAL, SourceLimits
from streamwave.ffmpeg.localfile import open_local
from streamwave.ffmpeg.locate import FFmpegBinary, decodable, dotted
from streamwave.ffmpeg.mp4file import is_fragmented
from streamwave.ffmpeg.relay import LISTEN_S, Relay, is_listener, is_relayed
from streamwave.ffmpeg.remedies import how_to_fix, unreachable
from streamwave.ffmpeg.tracks import audio_tracks, is_usable, tracks, video_tracks
from streamwave.model import AudioInfo, Colour, SourceInfo, VideoInfo
from streamwave.sources.address import protocol_whitelist, redact, shown
from streamwave.sources.hosts import reach

#: How long libavformat analyses a source that is received, in seconds and bytes, while information is missing. In FLV it can
#: never know whether more tracks will follow; what is needed comes first there.
ANALYSED_S, ANALYSED_TAGS_S, MAX_ANALYSED_BYTES = 12, 1, 64_000_000
#: A protocol name that does not exist, to disable all protocols.
_NONE = "none"
_BUFFER_BYTES, _FILE_BUFFER_BYTES = 1 << 15, 1 << 18
#: Audio beyond these is refused: it does not occur in practice, and resampling it takes memory in proportion.
MAX_CHANNELS, MAX_SAMPLE_RATE = 64, 768_000


def open_source(
    url: str,
    *,
    open_timeout_s: int = 15,
    read_timeout_s: int = 30,
    live: bool = False,
    flow: Any = None,
    as_bytes: bool = False,
    format: str | None = None,
    analysed_s: int | None = None,
    limits: SourceLimits = USUAL,
) -> InputContainer:
    """Open the resolved ``url`` for demuxing, with a demuxer that opens nothing else.

    ``flow``: a file object to read instead. ``as_bytes``: packets are raw pieces of what the protocol delivers. ``format``:
    libavformat's name of the format, if known. ``analysed_s``: maximum duration of the analysis in seconds.

    Raises:
        SourceError: it cannot be opened, is not media, or exceeds ``limits``; the message says which.
    """
    encrypted = frozenset[int]()
    local = open_local(url) if flow is None and url.startswith("file:") else None
    if local is not None:
        check_head(local, url, limits)
        encrypted = encrypted_in(local)
        flow = local
    options = {
        "max_pixels": str(limits.max_pixels),
        "max_streams": str(limits.max_tracks + 1),
        "protocol_whitelist": protocol_whitelist(url),
        "format_whitelist": "data" if as_bytes else allowed_formats(url, flow=flow is not None),
    }
    if as_bytes:
        options["raw_packet_size"] = "32768"
    of_tags = format == "flv" or urlsplit(url).path.endswith(".flv")
    if format == "flv":
        options["flv_full_metadata"] = "1"  # announces audio that has not begun
    if not url.startswith("file:"):
        # A stream that is joined between two keyframes reveals its frame size only at the next one.
        analysed_s = analysed_s or (ANALYSED_TAGS_S if of_tags else ANALYSED_S)
        options |= {"analyzeduration": f"{analysed_s}000000", "probesize": str(MAX_ANALYSED_BYTES)}
    if live:
        # Analysed data is not lost (that would be "fflags nobuffer") but delayed. The codecs are known at once, and the frame
        # rate is determined from the first chunk, so there is no need to wait.
        options |= {"fpsprobesize": "2"}
    if flow is not None:
        options["protocol_whitelist"] = _NONE  # the data is passed in
    elif is_relayed(url):
        wait_s = LISTEN_S if (live or as_bytes) and is_listener(url) else open_timeout_s
        flow = Relay(
            reach(url)[0], shown(url), limits.ffmpeg_path, open_timeout_s=wait_s, read_timeout_s=read_timeout_s
        )
    address, more = reach(url) if flow is None else (url, {})

    def opened() -> InputContainer:
        return av.open(
            address if flow is None else flow,
            "r",
            format="data" if as_bytes else format,
            options=options | more,
            timeout=(open_timeout_s, read_timeout_s) if flow is None else None,
            metadata_errors="replace",
            buffer_size=_BUFFER_BYTES if local is None else _FILE_BUFFER_BYTES,
        )

    try:
        try:
            container = opened()
        except av.error.ArgumentError:
            if local is None:
                raise
            # The name selects a demuxer that is not allowed, such as that for numbered images; detect by content instead.
            local.name = ""
            local.seek(0)
            container = opened()
    except av.error.FFmpegError as error:
        raise SourceError(refusal(url) if encrypted else explain(url, error)) from None
    except MemoryError:
        raise SourceError(too_much_memory(url, limits)) from None
    except ValueError as error:
        raise SourceError(f"{shown(url)} cannot be opened ({error})") from None
    check_limits(container, url, limits)
    if local is not None and not all(
        one.codec_context is None or one.codec_context.width for one in container.streams.video
    ):
        # The decoder drops a size that exceeds its limit, but the container still has it.
        plain = {"format_whitelist": options["format_whitelist"], "protocol_whitelist": _NONE, "codec_whitelist": _NONE}
        with (
            suppress(av.error.FFmpegError),
            av.open(open_local(url), "r", options=plain, metadata_errors="replace") as again,
        ):
            check_limits(again, url, limits)
    in_usual_order(container)
    mark(container, encrypted)
    return container


def explain(url: str, error: Exception) -> str:
    """The message for the user about why libavformat could not read ``url``."""
    name = shown(url)
    if isinstance(error, av.error.InvalidDataError) and url.startswith(("rtmp:", "rtmps:")):
        return f"{name} sends data that FFmpeg's RTMP refuses; set 'meta on' at its server (nginx-rtmp), or have it push here"
    if isinstance(error, av.error.InvalidDataError | av.error.ArgumentError):  # the latter if the format is not allowed
        return f"{name} is not readable media (damaged, truncated or of an unsupported kind); {how_to_fix(url)}"
    if isinstance(error, MemoryError):
        return f"{name} needs more memory than STREAMWAVE_SOURCE_MEMORY_MB allows; it may be damaged: {how_to_fix(url)}"
    if isinstance(error, av.error.PermissionError):
        return f"{name} is not readable; check its permissions"
    if isinstance(error, av.error.EOFError):
        return nothing_in(url)
    if isinstance(error, av.error.ExitError):
        return f"{name} did not answer in time; check the address and the network"
    reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".").replace(url, name)
    if url.startswith("file:"):
        return f"{name} cannot be read ({reason}); check that it was written completely"
    return f"{name} {unreachable(url, reason)}"


def nothing_in(url: str, limits: SourceLimits = USUAL) -> str:
    """The message for a source that ended before its first video frame and audio."""
    if lacked_memory(limits):
        return too_much_memory(url, limits)
    if url.startswith("file:"):
        return f"{shown(url)} ends before any media, or its edit list shows none of it; check that it was written completely"
    return f"{shown(url)} ended before any video or audio arrived; check what the encoder sends"


def describe(container: InputContainer, url: str, audio_track: int | None = None) -> SourceInfo:
    """Describe an open source: the video track in use, and audio track number ``audio_track`` (from 0); see ``tracks``.

    ``audio`` may be set although the track has not been found yet: see ``announced``.

    Raises:
        SourceError: it has neither video nor audio, or the tracks are encrypted or have no decoder here.
    """
    video, audio = tracks(container, audio_track)
    sound = audio_tracks(container)
    hidden = [
        one.type for one in (video, audio or next(filter(is_encrypted, sound), None)) if one and is_encrypted(one)
    ]
    known = [str(number) for number, one in enumerate(sound, 1) if is_usable(one)]
    if hidden:
        other = f"choose audio track {' or '.join(known)}" if known and hidden == ["audio"] else ""
        raise SourceError(refusal(url, "" if len(hidden) == 2 else hidden[0], other))
    if video is None and audio is None:
        if sound:
            raise SourceError(_no_decoder("audio", url))
        raise SourceError(f"{shown(url)} contains neither video nor audio; name another source")
    if audio is not None and audio.codec_context is None:
        remedy = f"choose track {' or '.join(known)}" if known else "choose none to use the video alone"
        raise SourceError(
            f"{shown(url)}: there is no decoder here for its audio track {sound.index(audio) + 1}; {remedy}"
        )
    _check_whole(container, url)
    shows = video_tracks(container)
    found = _video(video, url) if video is not None else None
    if found is not None and counts_pictures(container.format) and not url.startswith("file:"):
        found = found.model_copy(update={"stated_rate": None})  # the stated rate is made up
    return SourceInfo(
        url=redact(url),
        container=container.format.name,
        duration_ms=duration_ms(container),
        video=found,
        audio=describe_audio(audio, url) if audio is not None else announced(container, url),
        audio_tracks=len(sound),
        audio_number=sound.index(audio) + 1 if audio is not None else 1,
        undecodable=tuple(number for number, one in enumerate(sound, 1) if one.codec_context is None),
        encrypted=tuple(number for number, one in enumerate(sound, 1) if is_encrypted(one)),
        video_tracks=len(shows),
        video_number=shows.index(video) + 1 if video is not None else 1,
    )


def duration_ms(container: InputContainer) -> int | None:
    """The duration that an open source states, in milliseconds; None if it does not."""
    return container.duration // 1000 if container.duration and container.duration > 0 else None


def probe(url: str, audio_track: int | None = None, limits: SourceLimits = USUAL) -> SourceInfo:
    """Open the resolved ``url``, describe it including what its first frames reveal, and close it.

    Raises:
        SourceError: see ``open_source`` and ``describe``.
    """
    with open_source(url, limits=limits) as container:
        info = describe(container, url, audio_track)
        video, audio = tracks(container, audio_track)
        if video is None or info.video is None:
            for packet in islice(container.demux(audio), 1) if audio is not None else ():
                check_clear(packet, url)
            return info
        seen = examine(container, video, info.video, limits.max_pixels, audio, url)
        return info.model_copy(update={"video": seen})


def _check_whole(container: InputContainer, url: str) -> None:
    """Refuse an MP4 file whose index, at the start, refers to media beyond the end of the file.

    libavformat would read it up to there and treat that as the end. Fragmented files pass: they are valid up to wherever
    the writer was interrupted.
    """
    if "mp4" not in container.format.name.split(",") or not url.startswith("file:"):
        return
    file = open_local(url)
    if is_fragmented(file):
        return
    size = file.size()
    for stream in [*container.streams.video, *container.streams.audio]:
        entries = stream.index_entries
        if len(entries) == 0 or entries[-1].pos + entries[-1].size <= size or stream.time_base is None:
            continue
        there = next(n for n in range(len(entries)) if entries[n].pos + entries[n].size > size)
        first, cut, last = (entries[n].timestamp * stream.time_base for n in (0, there, -1))
        raise SourceError(
            f"{shown(url)} is truncated: it ends after {float(cut - first):.1f} s of {float(last - first):.1f} s; "
            "copy it again, or save what is there with: ffmpeg -i FILE -c copy NEW.mp4"
        )


def _video(stream: Any, url: str) -> VideoInfo:
    context = stream.codec_context
    if context is None:
        raise SourceError(_no_decoder("video", url))
    if not context.width or not context.height:
        if not url.startswith("file:"):
            raise SourceError(
                f"{shown(url)}: the frame size of its video track is unknown, because no decodable keyframe arrived in time "
                f"({context.name}); set the encoder's keyframe interval to 2 s"
            )
        raise SourceError(
            f"{shown(url)}: the frame size of its video track is unknown; the file may be truncated, or of a kind that "
            f"cannot be decoded here ({context.name}): convert it to H.264"
        )
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return VideoInfo(
        # The codec's name, rather than that of the decoder in use.
        codec=context.codec.canonical_name,
        width=context.width,
        height=context.height,
        sample_aspect=Fraction(stream.sample_aspect_ratio or context.sample_aspect_ratio or 1),
        stated_rate=Fraction(rate) if rate else None,
        pixel_format=context.pix_fmt or "",
        colour=Colour(
            primaries=PRIMARIES.get(context.color_primaries, "unknown"),
            transfer=TRANSFERS.get(context.color_trc, "unknown"),
            matrix=MATRICES.get(context.colorspace, "unknown"),
            full_range=context.color_range == 2 or (context.pix_fmt or "").startswith("yuvj"),
        ),
        interlaced=context.field_order > 1,  # 1 is progressive, 0 unknown
        bit_rate_bps=context.bit_rate or None,
    )


def check_track(source: SourceInfo, wanted: int | None) -> None:
    """Check that the audio track number ``wanted`` (from 1), which the user asked for, exists.

    Raises:
        UsageError: the source has fewer audio tracks.
    """
    if wanted is not None and wanted > source.audio_tracks:
        there = {0: "no audio track", 1: "one audio track"}.get(
            source.audio_tracks, f"{source.audio_tracks} audio tracks"
        )
        instead = f"name one from 1 to {source.audio_tracks}" if source.audio_tracks > 1 else "leave audio_track out"
        raise UsageError(f"{shown(source.url)} has {there}, so there is no number {wanted}; {instead}")


def check_decodable(source: SourceInfo, binary: FFmpegBinary) -> None:
    """Check that ``binary``, which may be a different build than PyAV's FFmpeg, can decode the source's video.

    Raises:
        SourceError: it has no decoder for it.
    """
    known = decodable(binary.path)
    if source.video is not None and known and source.video.codec not in known:
        raise SourceError(
            f"{shown(source.url)}: FFmpeg {dotted(binary.version)} ({binary.path}) has no decoder for its video "
            f"({source.video.codec}); point FFMPEG_PATH to one that has, or convert the source to H.264"
        )


def _no_decoder(kind: str, url: str) -> str:
    # PyAV does not reveal the codec's name if it has no decoder.
    return f"{shown(url)}: there is no decoder here for its {kind} track; convert it to H.264 and AAC"


def describe_audio(stream: Any, url: str) -> AudioInfo:
    """Describe an audio track of an open source.

    Raises:
        SourceError: there is no decoder for it, or it has too many channels or too high a sample rate.
    """
    context = stream.codec_context
    if context is None:
        raise SourceError(_no_decoder("audio", url))
    if context.channels > MAX_CHANNELS or context.sample_rate > MAX_SAMPLE_RATE:
        raise SourceError(
            f"{shown(url)}: audio with {context.channels} channels at {context.sample_rate} Hz is not supported; the "
            f"maximum is {MAX_CHANNELS} channels at {MAX_SAMPLE_RATE} Hz"
        )
    # A track can be announced long before its first audio; it is converted to 48 kHz stereo in any case.
    return AudioInfo(codec=context.name, sample_rate=context.sample_rate or 48000, channels=context.channels or 2)


if __name__ == "__main__":
    from streamwave.ffmpeg.probing import serve

    serve(lambda request, limits: probe(request["url"], request["audio_track"], limits).model_dump(mode="json"))
