"""The reduce step: check all renditions of a chunk, and package them as segments at their place on the timeline."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from streamwave.errors import MediaError
from streamwave.ffmpeg.transcode import DAMAGED, FILLER
from streamwave.manifest.packaged import PackagedChunk, PackagedSegment, PackagedTrack
from streamwave.model import Chunk, Rendition
from streamwave.mp4.avc import avc_fragment, samples_of
from streamwave.mp4.fragment import read_fragment
from streamwave.mp4.init import read_init
from streamwave.mp4.nal import starts_with_idr
from streamwave.mp4.normal import video_init
from streamwave.mp4.split import media_segment, split_file
from streamwave.timing import AAC_FRAME
from streamwave.util.digest import digest_of
from streamwave.util.files import replace_file

log = logging.getLogger("streamwave.package")

#: Start of SEI messages with captions (ATSC A/53 part 4, 6.2.3): T.35 country and provider, identifier, cc_data. Encoders
#: copy them, and none of these bytes needs an emulation prevention byte.
CAPTIONS = b"\xb5\x00\x31GA94\x03"


def package(
    chunk: Chunk,
    results: Mapping[str, Path],
    renditions: Sequence[Rendition],
    work: Path,
    *,
    put_filler: Callable[[Rendition], None] | None = None,
) -> PackagedChunk:
    """Package the transcoded files ``results`` (by rendition name) as media segments in the folder ``work``.

    ``put_filler`` is called to replace an unusable result by filler; without it, an unusable result is an error.

    Raises:
        MediaError: a file is damaged, has a wrong number of frames or boundary, or does not begin with an IDR picture.
    """
    folder = work / f"{chunk.number:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    tracks = []
    for rendition in renditions:
        path = results[rendition.name]
        try:
            tracks.append(_track(chunk, rendition, path, folder))
        except MediaError as error:
            if put_filler is None or path.with_suffix(FILLER).exists():
                raise
            # A retry would produce the same result; a bad chunk costs at most that chunk.
            log.error("chunk %d %s is replaced by filler: %s", chunk.number, rendition.name, error)
            put_filler(rendition)
            tracks.append(_track(chunk, rendition, path, folder))
    marks = {r.name: results[r.name].with_suffix(FILLER).exists() for r in renditions}
    return PackagedChunk(
        number=chunk.number,
        tracks=tuple(tracks),
        closed_unix_ms=chunk.closed_unix_ms,
        filled=tuple(name for name, filled in marks.items() if filled),
        damaged=any(results[name].with_suffix(DAMAGED).exists() for name, filled in marks.items() if not filled),
    )


def _track(chunk: Chunk, rendition: Rendition, path: Path, folder: Path) -> PackagedTrack:
    what = f"chunk {chunk.number} {rendition.name}"
    raw_init, fragments = split_file(path.read_bytes())
    summary = read_init(raw_init)
    timescale = rendition.timescale(chunk.grid)
    if summary.timescale != timescale:
        raise MediaError(f"{what}: the timescale is {summary.timescale} instead of {timescale}")
    boundaries = chunk.boundaries(rendition)
    if len(boundaries) != len(fragments):
        raise MediaError(f"{what}: {len(fragments)} segments instead of {len(boundaries)}")
    video = rendition.kind == "video"
    init = video_init(raw_init) if video else raw_init
    unit = chunk.grid.frame_ticks if video else AAC_FRAME
    segments = []
    for made, (time, duration) in zip(fragments, boundaries, strict=True):
        fragment, found = made, read_fragment(made, summary)
        if found.duration != duration or found.sample_count * unit != duration:
            raise MediaError(f"{what}: the segment at {time} lasts {found.duration} ticks instead of {duration}")
        if video and not starts_with_idr(fragment, summary):
            raise MediaError(f"{what}: the segment at {time} does not begin with an IDR picture")
        if video:
            fragment = avc_fragment(
                sequence=time // unit + 1, time=time, frame_ticks=unit, samples=samples_of(fragment, found)
            )
        elif found.time != time:
            raise MediaError(f"{what}: a segment starts at {found.time} instead of {time}")
        data = media_segment([fragment])
        file = folder / f"{rendition.name}-{time}.m4s"
        replace_file(file, data)
        segments.append(
            PackagedSegment(time=time, duration=duration, size=len(data), path=str(file), digest=digest_of(data))
        )
    init_file = folder / f"{rendition.name}-init.mp4"
    replace_file(init_file, init)
    return PackagedTrack(
        rendition=rendition,
        timescale=timescale,
        codecs=summary.codecs,
        init_path=str(init_file),
        init_sha256=hashlib.sha256(init).hexdigest(),
        init_size=len(init),
        frame_rate=chunk.rate if video else None,
        segments=tuple(segments),
        captions=video and any(CAPTIONS in fragment for fragment in fragments),
    )
