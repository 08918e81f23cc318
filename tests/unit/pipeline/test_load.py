"""What a run concludes from where the time of its chunks goes."""

from __future__ import annotations

import dataclasses

import pytest

from streamwave.ffmpeg.meter import Meter, Slots
from streamwave.pipeline.load import WINDOW_S, Load, figures

WORKERS = Slots("tls://studio:8786", workers=3, slots=3, busy=1, idle_workers=2, unusable=("old:1",))
FULL = dataclasses.replace(WORKERS, busy=3, idle_workers=0, queued=4)


class Stream:
    """A stream of chunks of 2 s, whose clock only this moves."""

    def __init__(self) -> None:
        self.now, self.published_ms, self.lag_ms = 100.0, 0, 0
        self.load, self.meter = Load(lambda: self.now), Meter(3, lambda: self.now)
        self.slots = WORKERS

    def pass_s(self, seconds: int, spent: dict[str, float], *, received: int = 1, of: int = 1) -> None:
        """Every 2 s ``received`` chunks arrive; one in ``of`` times one is published that has spent so much in these stages."""
        for number in range(1, seconds // 2 + 1):
            self.now += 2
            chunks = int(number % of == 0)
            self.lag_ms += 2000 * (received - chunks)
            for _ in range(chunks):
                self.published_ms += 2000
                self.meter.encoded(2.0, 3)
                for stage, seconds_each in spent.items():
                    self.meter.add(stage, seconds_each)  # type: ignore[arg-type]
            self.look()

    def look(self) -> None:
        self.load.update(self.meter.totals(), self.slots, published_ms=self.published_ms, lag_ms=self.lag_ms)

    @property
    def code(self) -> str:
        return self.load.short.code if self.load.short else ""

    @property
    def text(self) -> str:
        return self.load.short.text if self.load.short else ""


@pytest.fixture
def stream() -> Stream:
    found = Stream()
    found.look()
    return found


def test_the_demand_is_what_a_second_of_video_takes(stream: Stream) -> None:
    assert stream.load.demand == 1.0  # nothing is known yet
    stream.pass_s(30, {"encode": 5.0})
    assert stream.load.demand == pytest.approx(2.5)
    assert figures(stream.load, stream.slots) == {
        "at": "tls://studio:8786", "demand": 2.5, "workers": 3, "slots": 3, "busy": 1, "queued": 0, "unusable": ["old:1"],
    }  # fmt: skip
    # Only the last minute counts.
    stream.pass_s(int(WINDOW_S) + 4, {"encode": 1.0})
    assert stream.load.demand == pytest.approx(0.5)
    # The publisher has paused.
    stream.pass_s(int(WINDOW_S) + 4, {}, received=0, of=1000)
    assert stream.load.demand == 0


def test_what_waits_is_to_be_done_within_a_minute(stream: Stream) -> None:
    stream.pass_s(60, {"encode": 5.0})
    stream.pass_s(60, {"encode": 5.0}, of=2)
    # 30 s are behind, of which 2.5 × 2 s are being encoded.
    assert stream.load.demand == pytest.approx(2.5 * (1 + (30 - 5) / 60))


def test_a_file_needs_as_much_as_its_playback_and_is_never_late(stream: Stream) -> None:
    stream.slots = FULL
    stream.pass_s(60, {"encode": 5.0, "wait": 9.0}, received=3)
    assert stream.load.demand == pytest.approx(2.5)
    assert stream.code == ""


def test_a_stream_in_time_waits_for_nothing(stream: Stream) -> None:
    stream.slots = FULL
    stream.lag_ms = 8000  # of which a chunk takes 8 s in FFmpeg
    stream.pass_s(20, {"encode": 8.0, "wait": 1.0})
    assert stream.code == ""


@pytest.mark.parametrize(
    ("slots", "spent", "code", "text"),
    [
        (FULL, {"wait": 6.0}, "encoding-slow",
         "encoding on workers lags, 26.0 s behind: 3 of 3 slots are busy, 12 chunks wait; add workers"),
        (FULL, {}, "encoding-slow", "encoding on workers lags"),  # they wait in the spool
        (dataclasses.replace(FULL, at="studio"), {"wait": 6.0}, "encoding-slow", "encoding on this machine lags"),
        (WORKERS, {"store": 3.0}, "output-slow",
         "26.0 s behind while workers are idle (2 of 3 slots): the output is slow, 3.0 s per chunk"),
        (FULL, {"store": 9.0}, "output-slow", "the output is slow"),
        (WORKERS, {"transfer": 3.0, "store": 0.4}, "network-slow", "the way to workers and back takes 3.0 s per chunk"),
        (WORKERS, {"dispatch": 4.0}, "prefect-slow", "Prefect takes 4.0 s per chunk to start a transcode"),
        (WORKERS, {"package": 2.5}, "machine-slow", "packaging takes 2.5 s per chunk"),
        (WORKERS, {"store": 0.1}, "chunks-in-flight-few", "raise STREAMWAVE_MAX_CHUNKS_IN_FLIGHT"),
    ],
)  # fmt: skip
def test_a_late_stream_says_what_it_waits_for(
    stream: Stream, slots: Slots, spent: dict[str, float], code: str, text: str
) -> None:
    stream.slots = slots
    stream.pass_s(20, {"encode": 2.0, **spent})
    assert stream.code == ""
    stream.pass_s(52, {"encode": 2.0, **spent}, of=2)
    assert stream.code == code
    assert text in stream.text
    # It is said until the stream has caught up.
    stream.lag_ms = 7000
    stream.look()
    assert stream.code == code
    stream.lag_ms = 5000
    stream.look()
    assert stream.code == ""


def test_an_output_that_hangs_is_noticed_before_it_answers(stream: Stream) -> None:
    stream.pass_s(20, {"encode": 2.0})
    with stream.meter.stage("store"):
        stream.pass_s(20, {}, of=1000)
        assert stream.code == "output-slow"
