"""The sound of a session is one stream with an exact number of samples, whatever the source's packets look like."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av import Packet

from streamwave.receive.audio import AudioTrack
from streamwave.receive.audio_decoder import AudioDecoder
from streamwave.receive.clock import Timed
from streamwave.receive.samples import SAMPLE_RATE
from streamwave.timing import AAC_FRAME
from tests.support.media import ffmpeg, make_clip
from tests.support.onsets import decode, onsets


class Track(AudioTrack):
    """One session of one source's sound."""

    def __init__(self, bit_rate_bps: int, origin: Fraction) -> None:
        self.decoder = AudioDecoder(origin)
        super().__init__(bit_rate_bps, self.decoder)

    def push(self, packet: Packet[Any]) -> None:
        stamp = packet.pts if packet.pts is not None else packet.dts
        at = Fraction(stamp or 0) * Fraction(packet.time_base or 0)
        self.decoder.push(Timed(packet, "audio", at, at))


def packets(path: Path) -> Iterator[Packet[Any]]:
    """Sound as it comes out of a container."""
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.audio[0]):
            if packet.size:
                yield packet


def encode(path: Path, origin: Fraction = Fraction(0), fill: int = 0) -> list[bytes]:
    """The AAC frames of a whole file."""
    track = Track(128_000, origin)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        for packet in container.demux(stream):
            if packet.size:
                track.push(packet)
        track.decoder.flush(stream.codec_context)
    track.finish(fill)
    return track.take(track.available)


def clicks(path: Path, *at_s: float, rate: int = 48000, seconds: float = 2, options: tuple[str, ...] = ()) -> Path:
    """Silence with a tone burst of 10 ms at each of some moments, as PCM or what ``options`` say."""
    bursts = "+".join(f"gte(t\\,{at})*lt(t\\,{at + 0.01})" for at in at_s)
    tone = f"aevalsrc='0.8*sin(2*PI*2000*t)*({bursts})':s={rate}:d={seconds}"
    ffmpeg("-f", "lavfi", "-i", tone, *options, str(path))
    return path


def test_one_frame_for_every_1024_samples(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", frames=75, video=False, options=("-c:a", "pcm_s16le"))
    assert len(encode(clip.path)) == -(-clip.samples // AAC_FRAME)


@pytest.mark.parametrize(
    ("rate", "channels"),
    [(8000, 1), (22050, 2), (44100, 1), (44100, 2), (44100, 6), (48000, 1), (48000, 6), (96000, 2)],
)
def test_any_rate_and_channel_count_becomes_48k_stereo_of_the_same_length(
    tmp_path: Path, rate: int, channels: int
) -> None:
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    tone = f"sine=frequency=500:sample_rate={rate}:duration=1.5,aformat=channel_layouts={layout}"
    ffmpeg("-f", "lavfi", "-i", tone, "-c:a", "pcm_s16le", str(tmp_path / "a.wav"))
    frames = encode(tmp_path / "a.wav")
    # Exact: 72,000 samples, not one resampler's delay more or less.
    assert len(frames) == -(-72_000 // AAC_FRAME)
    samples = decode(frames)
    assert samples.shape[0] == 2
    tail = samples[0, AAC_FRAME:72_000]
    crossings = np.count_nonzero(np.diff(np.signbit(tail))) / 2
    assert abs(crossings - 500 * len(tail) / SAMPLE_RATE) < 2  # the pitch
    assert np.abs(tail[-4800:]).max() > 0.3 * np.abs(tail).max() > 0.01  # to the very end


@pytest.mark.parametrize("rate", [44100, 48000])
def test_what_sounds_stays_where_it_was(tmp_path: Path, rate: int) -> None:
    path = clicks(tmp_path / "a.mkv", 0.25, 1.0, 1.75, rate=rate, options=("-c:a", "pcm_s16le"))
    assert onsets(decode(encode(path))) == pytest.approx([0.25, 1.0, 1.75], abs=0.003)


@pytest.mark.parametrize(("codec", "kind"), [("aac", "m4a"), ("ac3", "mkv"), ("libopus", "mkv")])
def test_the_priming_of_the_sources_encoder_is_not_heard(tmp_path: Path, codec: str, kind: str) -> None:
    path = clicks(tmp_path / f"a.{kind}", 0.25, 1.75, options=("-c:a", codec))
    assert onsets(decode(encode(path))) == pytest.approx([0.25, 1.75], abs=0.012)


def test_a_gap_becomes_silence_and_what_follows_keeps_its_place(tmp_path: Path) -> None:
    path = clicks(tmp_path / "a.mkv", 0.25, 1.5, options=("-c:a", "pcm_s16le"))
    track = Track(128_000, Fraction(0))
    for packet in packets(path):
        assert packet.pts is not None and packet.time_base is not None
        if not 0.5 < packet.pts * packet.time_base < 1.3:
            track.push(packet)
    track.finish()
    frames = track.take(track.available)
    assert len(frames) == -(-96_000 // AAC_FRAME)
    samples = decode(frames)
    assert onsets(samples) == pytest.approx([0.25, 1.5], abs=0.003)
    assert np.abs(samples[:, 30_000:58_000]).max() < 0.01


def test_an_overlap_is_taken_out(tmp_path: Path) -> None:
    """Packets that come twice, as after a clumsy splice, sound once."""
    path = clicks(tmp_path / "a.mkv", 0.25, 1.5, options=("-c:a", "pcm_s16le"))
    track = Track(128_000, Fraction(0))
    for packet in packets(path):
        track.push(packet)
        if 0.2 < (packet.pts or 0) * Fraction(packet.time_base or 1) < 0.5:
            track.push(packet)
    track.finish()
    frames = track.take(track.available)
    assert len(frames) == -(-96_000 // AAC_FRAME)
    assert onsets(decode(frames)) == pytest.approx([0.25, 1.5], abs=0.003)


def test_rounded_timestamps_change_nothing(tmp_path: Path) -> None:
    """RTMP has milliseconds: neither silence is put in nor samples are taken out for that."""
    path = clicks(tmp_path / "a.mkv", 0.5, options=("-c:a", "pcm_s16le"))
    exact, rounded = Track(128_000, Fraction(0)), Track(128_000, Fraction(0))
    for first, second in zip(packets(path), packets(path), strict=True):
        exact.push(first)
        assert second.pts is not None and second.time_base is not None
        if second.pts:
            second.pts += round(Fraction(7 * (second.pts % 3 - 1), 1000) / second.time_base)
        rounded.push(second)
    exact.finish()
    rounded.finish()
    assert exact.take(1000) == rounded.take(1000)


def test_sound_that_begins_late_or_before_the_picture(tmp_path: Path) -> None:
    path = clicks(tmp_path / "a.mkv", 1.0, options=("-c:a", "pcm_s16le"))
    # The first picture came half a second after the first sample: the sound from before is cut.
    assert onsets(decode(encode(path, Fraction(1, 2)))) == pytest.approx([0.5], abs=0.003)
    assert len(encode(path, Fraction(1, 2))) == -(-72_000 // AAC_FRAME)
    # To the sample, wherever in a packet the picture came: what is off here stays off.
    for samples in (1, 100, 479, 481, 1023):
        first = encode(path, Fraction(samples, SAMPLE_RATE))
        assert onsets(decode(first)) == pytest.approx([1 - samples / SAMPLE_RATE], abs=0.0005)
    # It came half a second before: silence comes first.
    assert onsets(decode(encode(path, Fraction(-1, 2)))) == pytest.approx([1.5], abs=0.003)


def test_a_source_that_changes_its_rate_goes_on(tmp_path: Path) -> None:
    first = clicks(tmp_path / "a.mkv", 0.5, rate=44100, options=("-c:a", "pcm_s16le"))
    second = clicks(tmp_path / "b.mkv", 0.5, rate=48000, options=("-c:a", "pcm_s16le"))
    track = Track(128_000, Fraction(0))
    for packet in packets(first):
        track.push(packet)
    for packet in packets(second):
        assert packet.pts is not None and packet.time_base is not None
        packet.pts += round(2 / packet.time_base)
        track.push(packet)
    track.finish()
    frames = track.take(track.available)
    assert len(frames) == -(-192_000 // AAC_FRAME)
    assert onsets(decode(frames)) == pytest.approx([0.5, 2.5], abs=0.005)


def test_frames_are_taken_in_order_and_once(tmp_path: Path) -> None:
    path = clicks(tmp_path / "a.mkv", 0.5, options=("-c:a", "pcm_s16le"))
    whole = encode(path)
    track = Track(128_000, Fraction(0))
    taken: list[bytes] = []
    for packet in packets(path):
        track.push(packet)
        taken += track.take(len(taken) + 1)
        assert track.take(len(taken) - 5) == []
    track.finish()
    taken += track.take(10_000)
    assert taken == whole and track.available == len(whole)


def test_missing_sound_is_filled_up_on_demand() -> None:
    track = Track(128_000, Fraction(0))
    track.fill_to(94)
    assert len(track.take(94)) == 94
    track.finish(100)
    rest = track.take(200)
    assert len(rest) >= 6
    assert np.abs(decode(rest)).max() < 0.001


def test_late_sound_after_a_filled_stretch_keeps_its_place(tmp_path: Path) -> None:
    path = clicks(tmp_path / "a.mkv", 1.5, options=("-c:a", "pcm_s16le"))
    track = Track(128_000, Fraction(0))
    track.fill_to(47)  # a second without sound: the picture could not wait
    head = track.take(47)
    for packet in packets(path):
        track.push(packet)
    track.finish()
    frames = [*head, *track.take(1000)]
    assert onsets(decode(frames)) == pytest.approx([1.5], abs=0.003)
    assert len(frames) == -(-96_000 // AAC_FRAME)


def test_damage_leaves_a_silence_of_its_length(tmp_path: Path) -> None:
    path = clicks(tmp_path / "a.m4a", 0.25, 1.5, options=("-c:a", "aac"))
    track = Track(128_000, Fraction(0))
    for packet in packets(path):
        assert packet.pts is not None and packet.time_base is not None
        if 0.6 < packet.pts * packet.time_base < 0.9:
            damaged: Packet[Any] = Packet(b"\xff" * packet.size)
            damaged.stream, damaged.pts, damaged.dts, damaged.time_base = (
                packet.stream,
                packet.pts,
                packet.dts,
                packet.time_base,
            )
            packet = damaged
        track.push(packet)
    track.finish()
    assert track.decoder.errors > 0
    assert onsets(decode(track.take(1000)))[-1] == pytest.approx(1.5, abs=0.012)


@pytest.mark.parametrize("per_mille", [2, -2])
def test_a_sound_card_whose_clock_drifts_stays_in_step(tmp_path: Path, per_mille: int) -> None:
    """Two thousandths: within ten seconds it would be 20 ms. Corrected little by little, and nothing clicks."""
    at = [0.5 + n for n in range(9)]
    path = clicks(tmp_path / "a.mkv", *at, seconds=10, options=("-c:a", "pcm_s16le"))
    track = Track(128_000, Fraction(0))
    stretch = 1 + Fraction(per_mille, 1000)
    for packet in packets(path):
        assert packet.pts is not None
        packet.pts = round(packet.pts * stretch)
        track.push(packet)
    track.finish()
    found = onsets(decode(track.take(1000)))
    assert found == pytest.approx([float(second * stretch) for second in at], abs=0.006)
