"""Files and other finite sources: probe them, plan their ladder, transcode them into adaptive streams."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from streamwave.config.settings import Settings
from streamwave.ffmpeg.locate import locate
from streamwave.ffmpeg.probe import check_decodable, check_track
from streamwave.ffmpeg.probing import probe as probe_source
from streamwave.ffmpeg.process import launcher
from streamwave.model import Rendition, SourceInfo
from streamwave.pipeline import ladder as ladders
from streamwave.pipeline.threads import ChunkThreads
from streamwave.pipeline.vod import file_session
from streamwave.pipeline.worker import worker
from streamwave.sources.address import resolve_source
from streamwave.state.folders import close_state
from streamwave.storage.outputs import outputs


@dataclass(frozen=True)
class Transcoded:
    """The result of ``transcode``.

    Attributes:
        outputs: Folders or addresses of the result, each with ``manifest.mpd`` and ``master.m3u8``.
        source: What the probe found in the source.
        renditions: The renditions, video from the largest to the smallest, then audio.
        duration_ms: Length of the result, in milliseconds.
        notes: Sentences about the source that its owner should know, such as gaps or damaged chunks.
    """

    outputs: tuple[str, ...]
    source: SourceInfo
    renditions: tuple[Rendition, ...]
    duration_ms: int
    notes: tuple[str, ...]


def probe(
    source: str | os.PathLike[str], *, audio_track: int | None = None, settings: Settings | None = None
) -> SourceInfo:
    """Probe a source: find its tracks and their properties.

    Args:
        source: A file, or a URL (http, https, rtmp, rtmps, srt).
        audio_track: Audio track to use, counted from 1. Default: the setting STREAMWAVE_AUDIO_TRACK.
        settings: Default: read from the environment and ``.env``.

    Returns:
        The tracks, with sizes in pixels before rotation, and the length if it is known.

    Raises:
        SourceError: The source cannot be read or decoded, or has neither video nor audio.
        UsageError: It has no such audio track.

    Examples:
        >>> import streamwave
        >>> found = streamwave.probe("talk.mp4")
        >>> found.video.codec, found.video.width, found.video.height
        ('h264', 320, 180)
        >>> found.duration_ms
        4000
    """
    settings = settings or Settings.load()
    info = probe_source(resolve_source(str(source)), settings.audio_index(audio_track), settings.source_limits)
    check_decodable(info, locate(settings.ffmpeg_path))
    check_track(info, audio_track)
    return info


def ladder(
    source: SourceInfo | str | os.PathLike[str], *, ladder: str | None = None, settings: Settings | None = None
) -> tuple[Rendition, ...]:
    """Plan the renditions of a source. None is larger than the source.

    Args:
        source: A result of ``probe``, or a source as ``probe`` accepts it.
        ladder: Names of rungs ("1080p,720p"), or a custom ladder (a TOML or JSON file, or inline JSON). Default: the
            setting STREAMWAVE_LADDER.
        settings: Default: read from the environment and ``.env``.

    Returns:
        Video renditions from the largest to the smallest, then audio.

    Raises:
        LadderError: A rung is unknown, or all of them are larger than the source.
        SourceError: As for ``probe``.

    Examples:
        >>> own = '{"rungs": [{"name": "small", "short_side": 90, "max_kbps": 200}]}'
        >>> for rendition in streamwave.ladder("talk.mp4", ladder=own):
        ...     print(rendition.name, rendition.width, rendition.height, rendition.max_bps)
        small 160 90 200000
        audio 0 0 128000
    """
    settings = settings or Settings.load()
    info = source if isinstance(source, SourceInfo) else probe(source, settings=settings)
    return ladders.plan(info, ladders.choose(settings.ladder, ladder))


def transcode(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    ladder: str | None = None,
    overwrite: bool = False,
    audio_track: int | None = None,
    settings: Settings | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Transcoded:
    """Transcode a source into an adaptive stream: CMAF segments with a DASH manifest and HLS playlists.

    Runs without Prefect, in STREAMWAVE_MAX_CHUNKS_IN_FLIGHT threads of this process that share STREAMWAVE_FFMPEG_SLOTS
    FFmpeg processes. ``flows.vod.vod`` does the same as a Prefect flow run.

    Args:
        source: A file, or a URL of finite length.
        output: Folder or fsspec address of the result; commas separate several. Default: the setting OUTPUT_DIR.
        ladder: As for ``ladder``.
        overwrite: Replace a broadcast that the output already contains.
        audio_track: As for ``probe``.
        settings: Default: read from the environment and ``.env``.
        on_progress: Called in this thread after each chunk with the published length and the length of the source (None if
            unknown), both in milliseconds.

    Raises:
        UsageError: The source, the ladder, the output's address or a setting is invalid; nothing was written.
        OutputError: The output cannot be written, or contains another broadcast; what this call wrote was removed.
        IncompleteError: The result is published, but some outputs lack a part of it, or chunks that could not be decoded
            were replaced by black frames or silence.

    Examples:
        >>> from pathlib import Path
        >>> settings = streamwave.Settings.load(segment_seconds=1, preset="ultrafast")
        >>> made = streamwave.transcode("talk.mp4", "out/talk", ladder=own, settings=settings)
        >>> [rendition.name for rendition in made.renditions], made.duration_ms
        (['small', 'audio'], 4011)
        >>> sorted(path.name for path in Path("out/talk").glob("m*"))
        ['manifest.mpd', 'master.m3u8']
    """
    settings = settings or Settings.load()
    target = settings.output_url if output is None else os.fspath(output)
    close_state(settings, make=True)
    launcher(settings.ffmpeg_slot_count).reopen()
    with file_session(
        str(source), settings, output=target, ladder=ladder, overwrite=overwrite, audio_track=audio_track
    ) as session:

        def stored() -> None:
            if on_progress is not None:
                on_progress(session.published_ms(), session.source.duration_ms)

        with ChunkThreads(settings.max_chunks_in_flight, stored) as threads:
            for job, record in session.chunks():
                threads.submit(job, record)
            threads.drain()
        session.check_complete()
        published = worker.publication(session.job)
        published.finish()
        made = Transcoded(
            outputs=tuple(one.url for one in outputs(target) if one.url not in published.left_behind),
            source=session.source,
            renditions=session.job.renditions,
            duration_ms=session.published_ms(),
            notes=tuple(session.notes()),
        )
        incomplete = session.incomplete()
    if incomplete is not None:
        raise incomplete
    return made
