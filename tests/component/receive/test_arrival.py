"""The clock of arrivals alone: what a network does to pictures must not be seen, and what a camera does must be."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
from av import Packet

from streamwave.receive.arrival import ArrivalClock, Arrivals
from streamwave.timing import choose_rate, round_half_up

F = Fraction
USUAL = F(25)
#: What a demuxer supposes.
NOMINAL = F(1, 25)
BEGUN_NS = 10**15
BYTES = 10


def stamped(came_s: Sequence[Fraction]) -> list[Fraction]:
    """When pictures are shown that came then, in seconds since the first one."""
    now = BEGUN_NS
    arrivals = Arrivals(lambda: now)
    track: Any = SimpleNamespace(time_base=NOMINAL, codec_context=SimpleNamespace(has_b_frames=False))
    clock = ArrivalClock(arrivals, track)
    found: list[Packet[Any]] = []
    noted = arrivals.note(bytes(BYTES) for _ in came_s)
    for number, at in enumerate(came_s):
        now = BEGUN_NS + round_half_up(at * 10**9)
        next(noted)
        packet: Packet[Any] = Packet(bytes(BYTES))
        packet.time_base, packet.pts, packet.dts, packet.duration = NOMINAL, number, number, 1
        found += clock.put(packet)
    found += [packet for packet in clock.put(Packet(b"")) if packet.size]
    assert len(found) == len(came_s) and all(packet.pts == packet.dts for packet in found)
    assert clock._before is not None and all(at.denominator <= 10**9 for at in clock._before)
    return [(packet.pts or 0) * F(packet.time_base or 0) - F(BEGUN_NS, 10**9) for packet in found]


def grows(shown: Sequence[Fraction]) -> bool:
    return all(before < after for before, after in zip(shown, shown[1:], strict=False))


def steady(count: int, rate: Fraction = USUAL) -> list[Fraction]:
    return [n / rate for n in range(count)]


def trembling(most_ms: int, seed: int) -> list[Fraction]:
    by = random.Random(seed)
    return [at + F(by.randrange(most_ms), 1000) for at in steady(500)]


def varying(seed: int) -> list[Fraction]:
    """A camera whose pictures come every 40 to 400 ms."""
    by, found = random.Random(seed), [F(0)]
    while len(found) < 200:
        found.append(found[-1] + F(by.randrange(40, 401), 1000))
    return found


def held_up(first: int, until: int, rate: Fraction = USUAL) -> list[Fraction]:
    """A network that stands still, and then delivers what it has."""
    return [max(at, until / rate) if n >= first else at for n, at in enumerate(steady(400, rate))]


@pytest.mark.parametrize("most_ms", [1, 5, 20])
@pytest.mark.parametrize("seed", range(3))
def test_the_trembling_of_a_network_is_not_seen(most_ms: int, seed: int) -> None:
    shown = stamped(trembling(most_ms, seed))
    starts_ms = [round_half_up((at - shown[0]) * 1000) for at in shown]
    assert choose_rate(None, [at for at in starts_ms if at < 2000]) == 25
    assert [round_half_up(F(at, 40)) for at in starts_ms] == list(range(500))


@pytest.mark.parametrize(
    ("came", "due"),
    [
        (held_up(30, 80), steady(400)),
        (held_up(100, 350), steady(400)),
        # What the server has kept comes at once, or what it makes comes two, or 25, at a time.
        ([max(F(0), at - 1) for at in steady(200)], [at - 1 for at in steady(200)]),
        ([F(n // 2, 12) for n in range(400)], [F(n - 1, 24) for n in range(400)]),
        ([F(n // 25) for n in range(400)], [F(n - 24, 25) for n in range(400)]),
    ],
)
def test_what_is_held_up_on_its_way_is_shown_when_it_was_due(came: list[Fraction], due: list[Fraction]) -> None:
    shown = stamped(came)
    assert grows(shown)
    assert max(abs(a - b) for a, b in zip(shown, due, strict=True)) <= F(1, 24)


@pytest.mark.parametrize("pause_s", [F(1, 2), F(2), F(25)])
def test_a_camera_that_stands_still_is_seen_to(pause_s: Fraction) -> None:
    came = [at + (pause_s if n >= 60 else 0) for n, at in enumerate(steady(200))]
    assert stamped(came) == came


@pytest.mark.parametrize("seed", range(20))
def test_a_camera_whose_rate_varies_keeps_its_time(seed: int) -> None:
    came = varying(seed)
    shown = stamped(came)
    assert grows(shown)
    usual = came[-1] / (len(came) - 1)
    assert abs(shown[-1] - came[-1]) <= usual
    assert sorted(abs(a - b) for a, b in zip(shown, came, strict=True))[len(came) * 9 // 10] <= usual


@pytest.mark.parametrize("rate", [F(1, 5), F(1), F(30000, 1001), F(60)])
def test_any_rate(rate: Fraction) -> None:
    came = steady(100, rate)
    assert max(abs(a - b) for a, b in zip(stamped(came), came, strict=True)) <= F(1, 1000)


@pytest.mark.parametrize("count", [1, 2, 400, 2000])
def test_what_comes_all_at_once_has_no_time_but_the_nominal_one(count: int) -> None:
    """A file that a web server sends without its length: to put all of it into one moment would lose it."""
    shown = stamped([F(n, 100_000) for n in range(count)])
    assert grows(shown)
    assert all(abs(after - before - NOMINAL) < F(1, 1000) for before, after in zip(shown, shown[1:], strict=False))


def test_nothing_is_noted_once_nobody_will_ask() -> None:
    asked: Callable[[], int] = iter([1, 2]).__next__
    arrivals = Arrivals(asked)
    noted = arrivals.note(iter([b"ab", b"cd", b"ef"]))
    assert [next(noted), next(noted)] == [b"ab", b"cd"]
    assert [arrivals.at(at) for at in (0, 1, 2, 9)] == [F(1, 10**9), F(1, 10**9), F(2, 10**9), F(2, 10**9)]
    arrivals.forget()
    assert list(noted) == [b"ef"]
