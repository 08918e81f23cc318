"""The parsers of media from sources and encoders: boxes, NAL units, parameter sets, audio frames, FLV, MPEG-TS."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise

from streamwave.errors import MediaError
from streamwave.ffmpeg.encrypted import encrypted_in
from streamwave.ffmpeg.flv import LateSound, SoundTag, TagFlow, holds_pictures, sound_codecs
from streamwave.ffmpeg.metadata import plain
from streamwave.ffmpeg.mp4file import is_fragmented, sample_counts
from streamwave.ffmpeg.mpegts import ProgramFlow
from streamwave.mp4 import (
    InitSummary,
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
from streamwave.mp4.asc import AAC_LC, CHANNELS, SAMPLE_RATES, build_config, read_config
from streamwave.mp4.avc import Sample, avc_fragment, samples_of
from streamwave.mp4.avcc import AvcConfiguration, configuration, with_configuration
from streamwave.mp4.boxes import Fields, find_all, iter_boxes
from streamwave.mp4.nal import split_nals
from streamwave.mp4.sps import pps_id, read_sps, slice_pps
from streamwave.receive.fields import Fields as PictureFields
from streamwave.receive.gaps import MOST_EDITS, gaps_of
from streamwave.receive.nals import holds_no_picture, nals, refreshes_gradually
from tests.fuzz.parsers import parser, pieces

#: A track as in FFmpeg's output.
_TRACK = InitSummary("avc1.42C01E", "vide", 12800, 1, 64, 48, nal_length_bytes=4, default_duration=512)
#: Data that the next demuxer needs at its start: PAT and PMT, or FLV headers.
_HANDED_OVER = 4096
#: Bytes by which an object is shorter than the corresponding ECMA array.
_ADDED = 7


@parser(MediaError)
def boxes(data: bytes) -> None:
    """Boxes at every depth."""
    found = list(iter_boxes(data))
    assert b"".join(data[box.start : box.end] for box in found) == data
    find_all(data, "moov/trak/mdia")
    for box in found:
        Fields(data, box).version_flags()


@parser(MediaError)
def split(data: bytes) -> None:
    """A fragmented file; its parts are found again."""
    init, fragments = split_file(data)
    assert split_file(init + media_segment(fragments)) == (init, fragments)


@parser(MediaError)
def init(data: bytes) -> None:
    """An init segment, and its normalized form."""
    summary = read_init(data)
    with suppress(MediaError):
        made = read_init(video_init(data))
        assert (made.edit_ticks, made.timescale, made.codecs) == (0, summary.timescale, summary.codecs)
    with suppress(MediaError):
        record = configuration(data)
        assert configuration(with_configuration(data, record)) == record


@parser(MediaError)
def fragment(data: bytes) -> None:
    """A fragment; rewritten at another time it has the same samples in the same presentation order."""
    summary = read_fragment(data, _TRACK)
    assert len(summary.presentation_times) == summary.sample_count
    with suppress(MediaError):
        starts_with_idr(data, _TRACK)
    samples, ticks = samples_of(data, summary), summary.duration // summary.sample_count
    moved = avc_fragment(sequence=7, time=1 << 40, frame_ticks=ticks, samples=samples)
    after = read_fragment(moved, _TRACK)
    assert (after.sequence, after.time, after.duration) == (7, 1 << 40, summary.duration)
    assert (after.sizes, after.syncs) == (summary.sizes, summary.syncs)
    assert [at - after.time for at in after.presentation_times] == [
        at - summary.time for at in summary.presentation_times
    ]
    assert min(after.composition_offsets) >= 0
    assert _samples(data, summary.positions, summary.sizes) == _samples(moved, after.positions, after.sizes)


def _samples(data: bytes, positions: tuple[int, ...], sizes: tuple[int, ...]) -> list[bytes]:
    return [data[at : at + size] for at, size in zip(positions, sizes, strict=True)]


@parser(MediaError)
def made_fragment(data: bytes) -> None:
    """The writers of fragments: their output is read back."""
    frames = list(pieces(data))
    sound = read_fragment(aac_fragment(sequence=1, time=len(data), frames=frames), read_init(aac_init(48000, 2, 64000)))
    assert (sound.time, sound.sizes) == (len(data), tuple(map(len, frames)))
    places = list(range(len(frames)))
    for first in range(1, len(frames) - 1, 2):
        if frames[first][0] & 2:
            places[first : first + 2] = first + 1, first
    samples = [Sample(frame, bool(frame[0] & 1), place) for frame, place in zip(frames, places, strict=True)]
    pictures = read_fragment(avc_fragment(sequence=1, time=5, frame_ticks=512, samples=samples), _TRACK)
    assert pictures.syncs == tuple(sample.sync for sample in samples)
    assert pictures.presentation_times == tuple(5 + place * 512 for place in places)


@parser(MediaError)
def adts(data: bytes) -> None:
    """ADTS; its frames are read back after new headers were added."""
    frames = read_adts(data)
    assert read_adts(b"".join(adts_frame(frame, 48000, 2) for frame in frames)) == frames


@parser(MediaError)
def asc(data: bytes) -> None:
    """AudioSpecificConfig; if it can be written, it is read back."""
    config = read_config(data)
    if config.sample_rate in SAMPLE_RATES and config.channels in CHANNELS[1:]:
        again = read_config(build_config(config.sample_rate, config.channels))
        assert again == (AAC_LC, config.sample_rate, config.channels)


@parser(MediaError)
def avcc(data: bytes) -> None:
    """avcC; written ones are read back."""
    record = AvcConfiguration.read(data)
    assert AvcConfiguration.read(record.write()) == record
    assert AvcConfiguration.read(record.joined(record).write()).parameter_sets == record.parameter_sets


@parser(MediaError)
def sps(data: bytes) -> None:
    """H.264 parameter sets and slice headers."""
    for read in (pps_id, slice_pps, read_sps):
        with suppress(MediaError):
            read(data)


@parser(MediaError)
def nal(data: bytes) -> None:
    """Length-prefixed NAL units; none is lost."""
    if data:
        size = 1 + data[0] % 4
        units = list(split_nals(data[1:], size))
        assert b"".join(len(unit).to_bytes(size, "big") + unit for unit in units) == data[1:]


@parser()
def received_nals(data: bytes) -> None:
    """NAL units of received packets; damaged ones are ignored."""
    at = data[0] if data else 0
    head, packet = data[1 : at + 1], data[at + 1 :]
    for extradata in (head, None):
        assert sum(map(len, nals(packet, extradata))) <= len(packet)
        for codec in ("h264", "hevc"):
            holds_no_picture(packet, codec, extradata)
        refreshes_gradually(packet, extradata)
        PictureFields(extradata).alone(packet, extradata)


@parser()
def flv(data: bytes) -> None:
    """FLV tags as they arrive, with and without libavformat's knowledge of the streams."""
    for known, pictures in ((True, True), (False, False)):
        sounds: list[SoundTag] = []
        flow: TagFlow | None = TagFlow(pieces(data), sounds.append)
        settled = 0
        while flow is not None:
            size = 0
            while part := flow.read(512):
                size += len(part)
                if settled == 0 and size > 64:
                    flow.settle(known=known, pictures=pictures)
                    settled = 1
            assert size <= len(data) + _HANDED_OVER
            if flow.following is not None:
                flow.following.settle(known=known)
            flow = flow.following
        for tag in sounds:
            assert tag.ms >= 0 and len(tag.codec) <= 5 and len(tag.coded) <= len(tag.data)
            tag.parameters  # noqa: B018 (it is computed)


@parser()
def metadata(data: bytes) -> None:
    """Rewritten metadata; rewriting it again does not change it."""
    for start in (0, 1):
        out = plain(data, start)
        assert out is None or (plain(out) == out and len(out) <= len(data) + _ADDED)


@parser()
def late_sound(data: bytes) -> None:
    """Late audio that libavformat has not detected; a second libavformat instance detects its codec."""
    sounds: list[SoundTag] = []
    flow = TagFlow(iter([data]), sounds.append)
    flow.settle(known=False)
    while flow.read(4096):
        pass
    late = LateSound()
    for tag in sounds[:4]:
        late.packet(tag)


@contextmanager
def _file(data: bytes, suffix: str) -> Iterator[str]:
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(data)
        file.flush()
        yield f"file:{os.path.realpath(file.name)}"


@parser()
def flv_file(data: bytes) -> None:
    """An FLV file that is scanned."""
    with _file(data, ".flv") as url:
        assert len(sound_codecs(url)) <= 100
        holds_pictures(url)


@parser()
def gaps(data: bytes) -> None:
    """The edit lists of an MP4 file; gaps follow each other."""
    with _file(data, ".mp4") as url:
        found = gaps_of(url, "mov,mp4,m4a,3gp,3g2,mj2")
    for ranges in found.values():
        assert len(ranges) <= MOST_EDITS and all(begin <= end for begin, end in ranges)
        assert all(one[1] <= two[0] for one, two in pairwise(ranges))


class _Seekable(io.BytesIO):
    def size(self) -> int:
        return len(self.getvalue())


@parser()
def encrypted(data: bytes) -> None:
    """What the heads of MP4 and Matroska files say of encryption, and of their samples."""
    file = _Seekable(data)
    assert len(encrypted_in(file)) <= len(data)
    assert file.tell() == 0
    is_fragmented(file)
    sample_counts(file)


@parser()
def mpegts(data: bytes) -> None:
    """MPEG-TS whose programs change; no packet is invented, and no empty part follows."""
    flow: ProgramFlow | None = ProgramFlow(pieces(data))
    flows = total = 0
    while flow is not None:
        while part := flow.read(1024):
            total += len(part)
        flows, flow = flows + 1, flow.following
    assert flows <= 1 + len(data) // 188
    assert total <= len(data) + 204 * flows
