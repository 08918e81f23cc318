"""vod: the flow for files and other finite sources. One run makes one adaptive stream."""

from __future__ import annotations

from contextlib import ExitStack

from prefect import flow
from prefect.runtime import flow_run

from flows.by_hand import source_hosts
from flows.caller import caller
from flows.pipeline import ChunkPipeline, InFlight
from flows.progress import Progress
from flows.reach import check_ladder, check_output, is_confined
from flows.results import refuse_stored_results
from streamwave.config.settings import Settings
from streamwave.ffmpeg.process import launcher
from streamwave.pipeline.vod import file_session
from streamwave.pipeline.worker import worker
from streamwave.sources.address import shown
from streamwave.state.folders import close_state
from streamwave.util.private import begin

refuse_stored_results()


def _name() -> str:
    # Prefect shows the name to all users, and the address of a source may contain a key.
    return f"vod {shown(str(flow_run.parameters.get('source', '')))}"


@flow(name="vod", flow_run_name=_name, persist_result=False)
def vod(
    source: str,
    output: str | None = None,
    ladder: str | None = None,
    overwrite: bool = False,
    audio_track: int | None = None,
) -> None:
    """Transcode a file or URL into an adaptive stream (CMAF segments, DASH manifest, HLS playlists).

    Args:
        source: A file's path or a URL (file, rtmp, srt, http, https) of finite length.
        output: Folder or fsspec address of the result; an output of the setting OUTPUT_DIR, or a folder in one. Default: that
            setting.
        ladder: Names of renditions to make ("1080p,720p"), or a custom ladder. Default: all that fit the source.
        overwrite: Replace a broadcast that the output already contains.
        audio_track: Audio track to use, counted from 1. Default: the setting STREAMWAVE_AUDIO_TRACK.

    Raises:
        UsageError: a parameter is outside of what the settings allow (see ``flows.reach``).
        IncompleteError: the result is published, but some outputs lack a part of it, or chunks were replaced by black
            frames or silence.
    """
    begin()
    settings = Settings.load()
    close_state(settings, make=True)
    processes = launcher(settings.ffmpeg_slot_count)
    target = check_output(output, settings)
    with ExitStack() as stack:
        ahead = caller().ahead
        if ahead is not None:
            session, chunks = stack.enter_context(ahead).session, ahead.chunks()
        else:
            processes.reopen()
            session = stack.enter_context(
                file_session(
                    source,
                    settings,
                    output=target,
                    ladder=check_ladder(ladder),
                    overwrite=overwrite,
                    audio_track=audio_track,
                    confine=is_confined(),
                    source_hosts=source_hosts(settings),
                )
            )
            chunks = session.chunks()
        progress = Progress(session)
        pipeline = ChunkPipeline(InFlight(settings.max_chunks_in_flight), progress.update)
        try:
            for job, record in chunks:
                pipeline.submit(job, record)
            pipeline.drain()
            session.check_complete()
            worker.publication(session.job).finish()
        except BaseException:
            # Tasks may still be running in threads: end their FFmpeg processes before their files are deleted.
            processes.close()
            pipeline.settle()
            raise
        progress.finish(target)
        incomplete = session.incomplete()
    if incomplete is not None:
        raise incomplete
