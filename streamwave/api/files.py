"""Sources that end: what they hold, which renditions follow, and the adaptive stream that is made of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from streamwave.config.settings import Settings
from streamwave.errors import UsageError
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
    """What ``transcode`` has made.

    Attributes:
        outputs: Folders or addresses where it lies, each with ``manifest.mpd`` and ``master.m3u8``.
        source: The source as it was found.
        renditions: What was made of it, video from the largest down, then audio.
        duration_ms: Length of the result, in milliseconds.
        notes: Sentences on what was found in the source that its owner should know.
    """

    outputs: tuple[str, ...]
    source: SourceInfo
    renditions: tuple[Rendition, ...]
    duration_ms: int
    notes: tuple[str, ...]


def probe(
    source: str | os.PathLike[str], *, audio_track: int | None = None, settings: Settings | None = None
) -> SourceInfo:
    """Find out what a source holds.

    Args:
        source: A file, or a URL (http, https, rtmp, rtmps, srt).
        audio_track: Number of the audio track to take, from 1; the setting STREAMWAVE_AUDIO_TRACK without it.
        settings: From the environment and ``.env`` without it.

    Returns:
        Its tracks, sizes in pixels before rotation, and its length if it has one.

    Raises:
        SourceError: It cannot be read or decoded, contains neither video nor audio, or has no such audio track.

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
    """Plan the renditions that a source would be transcoded into. None is larger than the source.

    Args:
        source: What ``probe`` has found, or what it would be called with.
        ladder: Names of rungs ("1080p,720p"), or a ladder of your own (a TOML or JSON file, or JSON); the setting
            STREAMWAVE_LADDER without it.
        settings: From the environment and ``.env`` without it.

    Returns:
        Video renditions from the largest down, then audio.

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

    Runs in this process: STREAMWAVE_MAX_CHUNKS_IN_FLIGHT threads with STREAMWAVE_FFMPEG_SLOTS FFmpeg processes between
    them. The flow ``flows.vod.vod`` makes the same as a Prefect flow run.

    Args:
        source: A file, or a URL of a source that ends.
        output: Folder or fsspec address of the result, or several with commas between them; the setting OUTPUT_DIR
            without it.
        ladder: As for ``ladder``.
        overwrite: Replace a broadcast that the output already holds.
        audio_track: As for ``probe``.
        settings: From the environment and ``.env`` without it.
        on_progress: Called in this thread after each chunk with what is published and what there is (None: unknown), in
            milliseconds.

    Raises:
        UsageError: The source, the ladder, the output's address or a setting cannot be used; nothing was written.
        OutputError: The output cannot be written, or holds another broadcast; what this call wrote was removed.
        IncompleteError: All is published, but not to every output, or black pictures or silence are in the place of
            chunks that cannot be decoded.

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
    if output is not None and not str(output).strip():
        raise UsageError("the output is empty; name a folder, or leave it out to write to OUTPUT_DIR")
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
