"""Names of the stored media objects that a broadcast's manifests refer to."""

from __future__ import annotations

from streamwave.layout import init_name, segment_name
from streamwave.manifest.timeline import Timeline


def is_named(timeline: Timeline, name: str) -> bool:
    """Whether the manifests of ``timeline`` refer to this media object. The cost does not depend on the window's length."""
    if name.count("/") != 2:
        return False  # part of the ledger
    period_name, rendition, last = name.split("/")
    for period in timeline.periods:
        track = period.tracks.get(rendition) if period.name == period_name else None
        if track is not None:
            # Segments are removed at the front only, and are contiguous.
            if last == "init.mp4" or not track.segments:
                return True
            return int(last.removesuffix(".m4s")) >= track.segments[0].time
    return False


def named_objects(timeline: Timeline) -> set[str]:
    """Names of all media objects that the ledger and manifests of ``timeline`` refer to."""
    names = set()
    for period in timeline.periods:
        for rendition, track in period.tracks.items():
            names.add(init_name(period.name, rendition))
            names.update(segment_name(period.name, rendition, segment.time) for segment in track.segments)
    return names
