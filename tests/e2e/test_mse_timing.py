"""Chromium's MSE demuxer agrees about the time of every frame: the buffered ranges match the segment's timestamps."""

from __future__ import annotations

import base64
import subprocess
from typing import NamedTuple

import pytest

from streamwave.mp4 import avc_fragment, media_segment, read_fragment, read_init, samples_of, split_file, video_init
from tests.e2e.browser import PlayerHarness

TIMESCALE, FRAME_TICKS = 30000, 1000
LATE = 7 * 24 * 3600 * TIMESCALE + FRAME_TICKS

# Appends each [data, type] to a separate MediaSource. Returns the buffered ranges of each, or its error.
APPEND = """
async (cases) => {
  const found = [];
  for (const [data, type] of cases) {
    const video = document.createElement("video");
    const source = new MediaSource();
    video.src = URL.createObjectURL(source);
    await new Promise((done) => source.addEventListener("sourceopen", done, { once: true }));
    const buffer = source.addSourceBuffer(type);
    const ended = new Promise((done) => buffer.addEventListener("updateend", done, { once: true }));
    buffer.appendBuffer(Uint8Array.from(atob(data), (character) => character.charCodeAt(0)));
    await ended;
    const ranges = [];
    for (let i = 0; !video.error && i < video.buffered.length; i++) {
      ranges.push([video.buffered.start(i), video.buffered.end(i)]);
    }
    found.push(video.error ? video.error.message : ranges);
    URL.revokeObjectURL(video.src);
  }
  return found;
}
"""


class Case(NamedTuple):
    """An init segment with one media segment whose frames are presented in [begin, end) ticks."""

    name: str
    data: bytes
    type: str
    begin: int
    end: int


def encode(frames: int, bframes: int) -> bytes:
    """A chunk of ``frames`` frames with an IDR picture at 0 and, if it is that long, at 17."""
    command = ["ffmpeg", "-v", "warning", "-nostdin", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30"]
    command += ["-frames:v", str(frames), "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "superfast"]
    command += ["-bf", str(bframes), "-force_key_frames", "expr:eq(n,0)+eq(n,17)", "-forced-idr", "1", "-g", "600"]
    command += ["-sc_threshold", "0", "-flags", "+cgop", "-video_track_timescale", str(TIMESCALE), "-f", "mp4"]
    command += ["-movflags", "+cmaf+frag_keyframe+frag_discont+skip_sidx+skip_trailer", "pipe:1"]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


def cases() -> list[Case]:
    made = []
    for bframes in (0, 2, 3):
        for frames in (1, 3, 40):
            raw_init, fragments = split_file(encode(frames, bframes))
            assert len(fragments) == (2 if frames == 40 else 1)
            raw = read_init(raw_init)
            if bframes and frames == 40:  # otherwise there is nothing to present
                assert min(read_fragment(fragments[0], raw).composition_offsets) < 0
            init = video_init(raw_init)
            for first in (0, LATE):
                begin = first
                for number, fragment in enumerate(fragments):
                    found = read_fragment(fragment, raw)
                    samples = samples_of(fragment, found)
                    moved = avc_fragment(sequence=number + 1, time=begin, frame_ticks=FRAME_TICKS, samples=samples)
                    end = begin + FRAME_TICKS * found.sample_count
                    name = f"{bframes} B-frames, {frames} pictures, segment {number}, from {begin} ticks"
                    mime = f'video/mp4; codecs="{raw.codecs}"'
                    made.append(Case(name, init + media_segment([moved]), mime, begin, end))
                    begin = end
    return made


def test_buffered_ranges_are_those_of_the_timeline(harness: PlayerHarness) -> None:
    due = cases()
    with harness.page() as page:
        found = page.evaluate(APPEND, [[base64.b64encode(case.data).decode(), case.type] for case in due])
    assert len(found) == len(due) == 24
    for case, ranges in zip(due, found, strict=True):
        assert len(ranges) == 1, f"{case.name}: {ranges}"
        assert ranges[0] == pytest.approx([case.begin / TIMESCALE, case.end / TIMESCALE], rel=0, abs=1e-3), case.name
