"""All manifests of a broadcast, by the names under which they are stored."""

from __future__ import annotations

from collections.abc import Sequence

from streamwave.layout import MANIFEST, MASTER, playlist_name, recording_name
from streamwave.manifest.dash import render_mpd
from streamwave.manifest.hls import playlist_renditions, render_master, render_media
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.location import BaseUrl
from streamwave.manifest.memo import Memo


def render_all(
    ledger: Ledger, *, now_unix_ms: int, utc_timing_url: str | None, base_urls: Sequence[BaseUrl], memo: Memo
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The media playlists, and what names them: master playlist, then MPD. A broadcast that has begun must be there."""
    shown = ledger.shown
    assert shown is not None
    playlists, named = [(shown, playlist_name)], playlist_name
    if shown.ended and ledger.window is not None:
        # Players rely on numbers that never go back at one address: the window ends there, the recording is new.
        playlists, named = [(ledger.window, playlist_name), (shown, recording_name)], recording_name
    rendered = {
        name(rendition.name): render_media(timeline, rendition.name, memo)
        for timeline, name in playlists
        for rendition in playlist_renditions(timeline)
    }
    master = render_master(shown, base_urls=base_urls, playlist_name=named)
    mpd = render_mpd(shown, now_unix_ms=now_unix_ms, utc_timing_url=utc_timing_url, base_urls=base_urls, memo=memo)
    return rendered, {MASTER: master, MANIFEST: mpd}
