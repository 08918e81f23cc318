"""A segmenter's options: the same settings give the same ones to whoever starts it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from pydantic import TypeAdapter

from streamwave.config.settings import Settings
from streamwave.spool.options import FILE_AHEAD, Options


def settings(tmp_path: Path, **values: object) -> Settings:
    return Settings.load(env_file=None, state_dir=tmp_path / "state", **values)


def test_options_follow_the_settings(tmp_path: Path) -> None:
    chosen = settings(
        tmp_path, segment_seconds=Fraction("2.0005"), audio_track=2, max_pixels=640 * 360, max_chunk_mb=7,
        max_chunks_in_flight=5,
    )  # fmt: skip
    live = Options.from_settings(chosen, "rtmp://host/app/name", tmp_path, audio_kbps=96)
    assert (live.source, live.spool) == ("rtmp://host/app/name", tmp_path)
    assert (live.segment_ms, live.audio_bps, live.audio_track) == (2001, 96_000, 1)  # half a millisecond is rounded up
    assert live.live and live.max_ahead == 0
    assert live.limits == chosen.source_limits and live.limits.max_pixels == 640 * 360
    assert live.stream_limits == chosen.stream_limits and live.stream_limits.chunk_bytes == 7_000_000
    assert live.source_hosts is None and not live.numbered and not live.renewable
    assert TypeAdapter(Options).validate_json(TypeAdapter(Options).dump_json(live)) == live


def test_a_file_waits_for_what_is_made_of_it(tmp_path: Path) -> None:
    chosen = settings(tmp_path, max_chunks_in_flight=5)
    found = Options.from_settings(chosen, "file:/a.mp4", tmp_path, audio_kbps=96)
    assert not found.live and found.max_ahead == 5 + FILE_AHEAD
    other = Options.from_settings(chosen, "file:/a.mp4", tmp_path, audio_kbps=96, max_ahead=1, numbered=True)
    assert other.max_ahead == 1 and other.numbered
