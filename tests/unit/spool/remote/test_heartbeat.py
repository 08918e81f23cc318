"""Signs of life: silence is what could be read and did not change."""

from __future__ import annotations

from streamwave.spool.remote.sign import Sign


def test_only_what_could_be_read_is_silence() -> None:
    now = 100.0
    sign = Sign(1.0, lambda: now)
    assert sign.saw(b"1") and sign.seen and sign.silent_s == 0
    for _ in range(3):
        now += 1
        assert not sign.saw(b"1")
    assert sign.silent_s == 3
    now += 600  # nobody could read it, and nobody write it
    assert not sign.saw(b"1")
    assert sign.silent_s == 5
    now += 1
    assert sign.saw(b"2") and sign.silent_s == 0
    now += 1
    assert sign.saw(None) and sign.silent_s == 0, "that it goes is a change as well"
    now += 1
    assert not sign.saw(None) and sign.silent_s == 1
    sign.lives()
    assert sign.silent_s == 0
