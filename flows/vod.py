"""vod: the flow for sources that end. One run makes one adaptive stream of one file."""

from __future__ import annotations

from prefect import flow
from prefect.runtime import flow_run

from flows.by_hand import source_hosts
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
    # Prefect shows it to everybody, and the address of a source may hold a key.
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
        source: A file's path or a URL (file, rtmp, srt, http, https) of a source that ends.
        output: Folder or fsspec address of the result, one of the setting OUTPUT_DIR or in one; that setting without it.
        ladder: Names of renditions to make ("1080p,720p"), or a ladder of your own; all that fit without it.
        overwrite: Replace a broadcast that the output already holds.
        audio_track: Number of the audio track to take, from 1; the setting STREAMWAVE_AUDIO_TRACK without it.

    Raises:
        UsageError: the parameters reach further than they may (see ``flows.reach``).
        IncompleteError: all is published, but not to every output, or black pictures or silence are in the place of some
            chunks.
    """
    begin()
    settings = Settings.load()
    close_state(settings, make=True)
    processes = launcher(settings.ffmpeg_slot_count)
    processes.reopen()
    target = check_output(output, settings)
    with file_session(
        source,
        settings,
        output=target,
        ladder=check_ladder(ladder),
        overwrite=overwrite,
        audio_track=audio_track,
        confine=is_confined(),
        source_hosts=source_hosts(settings),
    ) as session:
        progress = Progress(session)
        pipeline = ChunkPipeline(InFlight(settings.max_chunks_in_flight), progress.update)
        try:
            for job, record in session.chunks():
                pipeline.submit(job, record)
            pipeline.drain()
            session.check_complete()
            worker.publication(session.job).finish()
        except BaseException:
            # Tasks may still be running in their threads: end their processes before the files below them go away.
            processes.close()
            pipeline.settle()
            raise
        progress.finish(target)
        incomplete = session.incomplete()
    if incomplete is not None:
        raise incomplete
