"""Whatever format a source has, and however often it changes, its samples become one unbroken run at 48 kHz."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from av import AudioFrame

from streamwave.receive.resample import SILENT, Resampler
from streamwave.receive.samples import SAMPLE_RATE, Samples


class Collected(list[Samples]):
    """Everything that was put out."""

    @property
    def joined(self) -> Samples:
        return np.concatenate(self, axis=1)


def made() -> tuple[Resampler, Collected]:
    out = Collected()
    return Resampler(out.append), out


def ramp(count: int) -> Samples:
    return np.tile(np.linspace(-0.5, 0.5, count, dtype=np.float32), (2, 1))


@pytest.mark.parametrize("rate", [8000, 44100, 48000, 96000])
def test_any_rate_keeps_its_length(rate: int) -> None:
    resampler, out = made()
    resampler.change(("fltp", "stereo", rate), 2)
    resampler.write(ramp(rate))
    assert resampler.written == rate and resampler.place_of(Fraction(3, 2)) == rate * 3 // 2
    resampler.drain()
    assert abs(resampler.position - SAMPLE_RATE) <= 1 and out.joined.shape == (2, resampler.position)


def test_places_are_counted_from_the_last_change_of_format() -> None:
    resampler, _ = made()
    resampler.change(("fltp", "stereo", 44100), 2)
    resampler.write(ramp(44100))
    resampler.change(("fltp", "stereo", 8000), 2)
    assert resampler.written == 0 and resampler.place_of(Fraction(3, 2)) == 4000


def test_one_channel_is_copied_to_both_sides_and_six_do_not_clip() -> None:
    resampler, _ = made()
    resampler.change(("flt", "mono", SAMPLE_RATE), 1)
    mono = AudioFrame.from_ndarray(np.full((1, 1024), 0.7, np.float32), format="flt", layout="mono")
    mono.sample_rate = SAMPLE_RATE
    assert np.allclose(resampler.stereo(mono), 0.7)
    resampler.change(("fltp", "5.1", SAMPLE_RATE), 6)
    loud = AudioFrame.from_ndarray(np.ones((6, 1024), np.float32), format="fltp", layout="5.1")
    loud.sample_rate = SAMPLE_RATE
    mixed = resampler.stereo(loud)
    assert mixed.shape == (2, 1024) and 0.5 < np.abs(mixed).max() <= 1


def test_silence_reaches_the_position_although_the_resampler_holds_samples_back() -> None:
    for shape in (SILENT, ("fltp", "stereo", 44100)):
        resampler, out = made()
        resampler.change(shape, 2)
        resampler.silence_until(SAMPLE_RATE // 2)
        assert resampler.position >= SAMPLE_RATE // 2 and not out.joined.any()
