"""AAC through ADTS and our own muxing, read back by FFmpeg and PyAV."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from streamwave.errors import MediaError
from streamwave.mp4 import (
    aac_fragment,
    aac_init,
    adts_frame,
    media_segment,
    read_adts,
    read_fragment,
    read_init,
    split_file,
    starts_with_idr,
    video_init,
)
from streamwave.mp4.asc import build_config, read_config

from .conftest import FFMPEGS, aac_frames, open_media, run_ffmpeg

PARAMETERS = [(48000, 2), (44100, 1), (96000, 2)]


def publish(frames: tuple[bytes, ...], cut: int, first: int = 0) -> list[bytes]:
    """Segments of ``cut`` frames each, the first at AAC frame ``first``."""
    return [
        media_segment([aac_fragment(sequence=n + 1, time=(first + start) * 1024, frames=frames[start : start + cut])])
        for n, start in enumerate(range(0, len(frames), cut))
    ]


@pytest.mark.parametrize(("sample_rate", "channels"), PARAMETERS)
def test_read_adts_agrees_with_ffmpeg(sample_rate: int, channels: int) -> None:
    frames, adts = aac_frames(50, sample_rate, channels)
    assert len(frames) >= 50
    assert read_adts(adts) == list(frames)
    ours = b"".join(adts_frame(frame, sample_rate, channels) for frame in frames)
    assert read_adts(ours) == list(frames)
    with open_media(ours, "aac") as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.channels) == (sample_rate, channels)
        assert sum([frame.samples for frame in container.decode(stream)]) == len(frames) * 1024


def test_adts_with_checksums_is_read() -> None:
    plain = adts_frame(b"abcdef", 48000, 2)
    length = len(plain) + 2
    header = bytearray(plain[:7])
    header[1] &= 0xFE
    header[4] = length >> 3 & 0xFF
    header[5] = (length & 7) << 5 | header[5] & 0x1F
    assert read_adts((bytes(header) + b"\x12\x34" + b"abcdef") * 3) == [b"abcdef"] * 3


GOOD = adts_frame(b"abcdef", 48000, 2)


@pytest.mark.parametrize(
    "data",
    [
        b"garbage that is not audio",
        GOOD[:6],
        GOOD[:-1],
        GOOD + GOOD[:8],
        GOOD + b"\0" + GOOD,
        GOOD + adts_frame(b"abc", 44100, 2),  # another sample rate
        GOOD + adts_frame(b"abc", 48000, 1),  # other channels
        bytes([GOOD[0], GOOD[1], GOOD[2] & 0x3F, *GOOD[3:]]),  # AAC Main
        GOOD[:6] + bytes([GOOD[6] | 1]) + GOOD[7:],  # two blocks in a frame
        GOOD[:4] + bytes([0, GOOD[5] & 0x1F | 0xE0]) + GOOD[6:],  # length 7: no content
    ],
)
def test_bad_adts_is_an_error(data: bytes) -> None:
    with pytest.raises(MediaError):
        read_adts(data)


def test_adts_edges() -> None:
    assert read_adts(b"") == []
    assert read_adts(adts_frame(bytes(8184), 48000, 2)) == [bytes(8184)]
    for frame, rate, channels in [(bytes(8185), 48000, 2), (b"", 48000, 2), (b"a", 48001, 2), (b"a", 48000, 7)]:
        with pytest.raises(MediaError):
            adts_frame(frame, rate, channels)


def test_audio_specific_config() -> None:
    assert build_config(48000, 2) == bytes.fromhex("1190")
    assert build_config(44100, 1) == bytes.fromhex("1208")
    assert read_config(bytes.fromhex("1190")) == (2, 48000, 2)
    assert read_config(bytes.fromhex("2B92 0800".replace(" ", "")))[:2] == (5, 22050)
    explicit = (2 << 35 | 15 << 31 | 12345 << 7 | 6 << 3).to_bytes(5, "big")
    assert read_config(explicit) == (2, 12345, 6)
    for bad in (b"", b"\x11", b"\x16\x90", b"\x11\xf8"):
        with pytest.raises(MediaError):
            read_config(bad)


@pytest.mark.parametrize(("sample_rate", "channels"), PARAMETERS)
def test_init_says_what_it_was_made_of(sample_rate: int, channels: int) -> None:
    init = aac_init(sample_rate, channels, 128000)
    found = read_init(init)
    assert found.codecs == "mp4a.40.2"
    assert (found.handler, found.timescale, found.track_id) == ("soun", sample_rate, 1)
    assert (found.sample_rate, found.channels) == (sample_rate, channels)
    assert (found.default_duration, found.default_flags & 0x10000) == (1024, 0)
    assert init == aac_init(sample_rate, channels, 128000)
    with open_media(init + aac_fragment(sequence=1, time=0, frames=[b"\x21\x10"])) as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.channels, stream.time_base) == (sample_rate, channels, Fraction(1, sample_rate))


def test_fragment_roundtrip() -> None:
    init, frames = aac_init(48000, 2, 128000), [b"a" * n for n in (1, 300, 17)]
    fragment = aac_fragment(sequence=5, time=1 << 40, frames=frames)
    found = read_fragment(fragment, read_init(init))
    assert (found.sequence, found.time, found.earliest) == (5, 1 << 40, 1 << 40)
    assert found.sizes == (1, 300, 17)
    assert found.durations == (1024,) * 3 and found.syncs == (True,) * 3
    assert [fragment[p : p + s] for p, s in zip(found.positions, found.sizes, strict=True)] == frames
    assert split_file(init + media_segment([fragment])) == (init, [fragment])


@pytest.mark.parametrize(("sample_rate", "channels"), PARAMETERS)
@pytest.mark.parametrize("first", [0, 30_000_000])
def test_muxed_audio_decodes_to_every_sample(sample_rate: int, channels: int, first: int) -> None:
    frames, adts = aac_frames(50, sample_rate, channels)
    joined = aac_init(sample_rate, channels, 96000) + b"".join(publish(frames, 11, first))
    with open_media(joined) as container:
        decoded = list(container.decode(audio=0))
    assert [frame.pts for frame in decoded] == [(first + n) * 1024 for n in range(len(frames))]
    assert sum(frame.samples for frame in decoded) == len(frames) * 1024
    with open_media(adts, "aac") as container:
        original = [frame.to_ndarray() for frame in container.decode(audio=0)]
    assert np.array_equal(np.concatenate([frame.to_ndarray() for frame in decoded], 1), np.concatenate(original, 1))


@pytest.mark.parametrize("ffmpeg", FFMPEGS)
def test_ffmpeg_reads_muxed_audio_without_a_warning(ffmpeg: str) -> None:
    frames, _ = aac_frames(50, 48000, 2)
    joined = aac_init(48000, 2, 96000) + b"".join(publish(frames, 11))
    out, err = run_ffmpeg(ffmpeg, "-i", "pipe:0", "-f", "s16le", "pipe:1", stdin=joined)
    assert err == ""
    assert len(out) == len(frames) * 1024 * 2 * 2


def test_impossible_requests_are_refused() -> None:
    for arguments in [(48001, 2, 128000), (48000, 9, 128000), (48000, 2, 0), (48000, 0, 1)]:
        with pytest.raises(MediaError):
            aac_init(*arguments)
    for frames in ([], [b"a", b""]):
        with pytest.raises(MediaError):
            aac_fragment(sequence=1, time=0, frames=frames)
    with pytest.raises(MediaError):
        aac_fragment(sequence=1, time=-1, frames=[b"a"])
    with pytest.raises(MediaError, match="NAL"):
        starts_with_idr(aac_fragment(sequence=1, time=0, frames=[b"a"]), read_init(aac_init(48000, 2, 1)))
    with pytest.raises(MediaError, match=r"H\.264"):
        video_init(aac_init(48000, 2, 1))


def test_a_damaged_init_is_a_media_error_or_readable() -> None:
    init, refused = aac_init(48000, 2, 128000), 0
    for position in range(len(init)):
        for flip in (0xFF, 0x01, 0x80):
            try:
                read_init(init[:position] + bytes([init[position] ^ flip]) + init[position + 1 :])
            except MediaError:
                refused += 1
    assert refused > 100
