"""Heartbeats: only time during which an unchanged object could be read counts as silence."""

from __future__ import annotations

from streamwave.spool.remote.heartbeat import Heartbeat


def test_only_what_could_be_read_is_silence() -> None:
    now = 100.0
    heartbeat = Heartbeat(1.0, lambda: now)
    assert heartbeat.saw(b"1") and heartbeat.seen and heartbeat.silent_s == 0
    for _ in range(3):
        now += 1
        assert not heartbeat.saw(b"1")
    assert heartbeat.silent_s == 3
    now += 600  # could be neither read nor written
    assert not heartbeat.saw(b"1")
    assert heartbeat.silent_s == 5
    now += 1
    assert heartbeat.saw(b"2") and heartbeat.silent_s == 0
    now += 1
    assert heartbeat.saw(None) and heartbeat.silent_s == 0, "its deletion is a change as well"
    now += 1
    assert not heartbeat.saw(None) and heartbeat.silent_s == 1
    heartbeat.lives()
    assert heartbeat.silent_s == 0
