"""All manifests of a broadcast, by the names under which they are stored."""

from __future__ import annotations

from collections.abc import Sequence

from streamwave.layout import LIVE_MANIFEST, MANIFEST, MASTER, playlist_name, recording_name
from streamwave.manifest.dash import render_mpd
from streamwave.manifest.hls import playlist_renditions, render_master, render_media
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.memo import Memo
from streamwave.manifest.timeline import Timeline
from streamwave.storage.location import BaseUrl


def manifest_names(timeline: Timeline) -> list[str]:
    """Names of all manifests that the broadcast may have had, those that refer to others first."""
    names = [playlist_name(r.name) for r in playlist_renditions(timeline)]
    recordings = [recording_name(r.name) for r in playlist_renditions(timeline)]
    return [MANIFEST, LIVE_MANIFEST, MASTER, *names, *recordings]


def render_all(
    ledger: Ledger, *, now_unix_ms: int, utc_timing_url: str | None, base_urls: Sequence[BaseUrl], memo: Memo
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The media playlists, and what refers to them: the master playlist, then the MPD. The broadcast must have begun.

    A live broadcast has a second MPD, to which the first one directs players that have started. While live the two are equal.
    After the end, the second keeps the live timeline, and the first describes the recording (docs/decisions/0012).
    """
    shown = ledger.shown
    assert shown is not None
    playlists, named = [(shown, playlist_name)], playlist_name
    if shown.ended and ledger.window is not None:
        # At one URL, sequence numbers must never decrease. So the window's playlists end, and the recording gets new ones.
        playlists, named = [(ledger.window, playlist_name), (shown, recording_name)], recording_name
    rendered = {
        name(rendition.name): render_media(timeline, rendition.name, memo)
        for timeline, name in playlists
        for rendition in playlist_renditions(timeline)
    }
    master = render_master(shown, base_urls=base_urls, playlist_name=named)

    def mpd(timeline: Timeline, location: str | None, memo: Memo) -> bytes:
        return render_mpd(
            timeline, now_unix_ms=now_unix_ms, utc_timing_url=utc_timing_url, base_urls=base_urls, location=location,
            memo=memo,
        )  # fmt: skip

    is_live = shown.live_born and not shown.ended
    manifest = mpd(shown, LIVE_MANIFEST if is_live else None, memo)
    if is_live:
        rendered[LIVE_MANIFEST] = manifest
    elif ledger.watched is not None:
        rendered[LIVE_MANIFEST] = mpd(ledger.watched, None, Memo())
    return rendered, {MASTER: master, MANIFEST: manifest}
