"""Passthrough: check whether a chunk's own video can be a rendition, and write it as one.

Chunk files are read with PyAV without decoding (``Transcoder.encode`` has FFmpeg decode the chunk before it is used).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import av.error

from streamwave.errors import MediaError, UnfitError
from streamwave.ffmpeg.chunks import open_chunk
from streamwave.model import Chunk, Passthrough
from streamwave.mp4.avc import Sample, avc_fragment
from streamwave.mp4.avcc import AvcConfiguration, configuration
from streamwave.mp4.nal import IDR, split_nals
from streamwave.mp4.split import split_file
from streamwave.timing import round_half_up

#: NAL units in frames that every player supports (ITU-T H.264, table 7-1): slices, and supplemental information.
_SLICE, _SEI = 1, 6
#: NAL units that are dropped: parameter sets, which the init segment of "avc1" contains, delimiters and filler data
#: (ISO/IEC 14496-15, 5.3.2 and 5.4.2).
_PARAMETER_SETS, _LEFT_OUT = frozenset({7, 8}), frozenset({9, 10, 11, 12})


class Picture(NamedTuple):
    """A frame, listed in decoding order. ``place`` is its position in presentation order, from 0 at the chunk's start."""

    place: int
    idr: bool
    data: bytes


class SourcePictures(NamedTuple):
    """The frames of a chunk, and the decoder configuration for them."""

    configuration: AvcConfiguration
    pictures: tuple[Picture, ...]

    @property
    def size_bytes(self) -> int:
        """Total size of the frames."""
        return sum(len(picture.data) for picture in self.pictures)


def read_pictures(chunk: Chunk) -> SourcePictures:
    """Read the source's frames of ``chunk`` from its file.

    Raises:
        UnfitError: they are not H.264, or use something that not every player supports.
    """
    if chunk.video_path is None or Path(chunk.video_path).suffix != ".mkv":
        raise UnfitError("the source is not H.264")
    try:
        with open_chunk(Path(chunk.video_path)) as container:
            stream = container.streams.video[0]
            record = stream.codec_context.extradata or b""
            if stream.codec_context.codec.canonical_name != "h264" or record[:1] != b"\x01":
                raise UnfitError("the source is not H.264")
            found = AvcConfiguration.read(record)
            pictures = []
            for packet in container.demux(stream):
                if packet.size and packet.pts is not None and packet.time_base is not None:
                    at_ms = round_half_up(packet.pts * Fraction(packet.time_base) * 1000) - chunk.later_ms
                    place = chunk.grid.frame_at_ms(at_ms) - chunk.first_frame
                    pictures.append(_picture(bytes(packet), place, found))
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise UnfitError(f"its file cannot be read ({error})") from None
    except UnfitError:
        raise
    except MediaError as error:
        raise UnfitError(str(error)) from None
    return SourcePictures(found, tuple(pictures))


def _picture(packet: bytes, place: int, found: AvcConfiguration) -> Picture:
    kept, slices = list[bytes](), set[int]()
    for nal in split_nals(packet, found.nal_length_bytes):
        kind = nal[0] & 0x1F
        if kind in (_SLICE, IDR):
            slices.add(kind)
        elif kind in _PARAMETER_SETS and nal not in found.parameter_sets:
            raise UnfitError("its parameters change from frame to frame")
        elif kind in _PARAMETER_SETS or kind in _LEFT_OUT or (kind == _SEI and slices):
            continue  # SEI belongs before the slices (7.4.1.2.3); decoders complain if it comes later
        elif kind != _SEI:
            raise UnfitError(f"it has parts that not every player supports (NAL units of type {kind})")
        kept.append(len(nal).to_bytes(4, "big") + nal)
    if len(slices) != 1:
        raise UnfitError("a packet is not exactly one frame")
    return Picture(place, slices == {IDR}, b"".join(kept))


def own_segments(chunk: Chunk, pictures: Sequence[Picture], target: Fraction, delay: int) -> tuple[int, ...]:
    """Lengths in frames of segments of ``chunk`` that begin at the source's own IDR pictures, each close to ``target``.

    ``delay``: by how many frames presentation may at most precede the position in decoding order.

    Raises:
        UnfitError: there is not exactly one frame per grid point, or IDR pictures are too rare or misplaced.
    """
    places = [picture.place for picture in pictures]
    if sorted(places) != list(range(chunk.frame_count)):
        raise UnfitError("its frames do not match the frame grid one by one")
    if any(place + delay < number for number, place in enumerate(places)):
        raise UnfitError(
            "its B-frames reach too far" if delay else "it has B-frames, which live renditions do not have"
        )
    # Entry points: IDR pictures before which all earlier frames in presentation order are decoded.
    highest = [-1, *accumulate(places, max)]
    entries = [n for n, one in enumerate(pictures) if one.idr and one.place == n and highest[n] < n]
    if entries[:1] != [0]:
        raise UnfitError("it does not begin with an IDR picture")
    edges = [0]
    for entry in entries[1:]:
        if (entry - edges[-1]) * 10 >= target * 9:  # the same rule as for cutting chunks (receive.writer)
            edges.append(entry)
    lengths = tuple(b - a for a, b in pairwise([*edges, chunk.frame_count]))
    if any(length * 2 >= target * 3 for length in lengths):
        longest = Fraction(max(lengths)) / chunk.rate
        raise UnfitError(f"its keyframes are too rare for segments (one of {float(longest):.1f} s)")
    return lengths


def as_rendition(chunk: Chunk, passthrough: Passthrough) -> bytes:
    """The source's own frames of ``chunk`` as a fragmented MP4, in the form that FFmpeg writes when it encodes.

    Raises:
        UnfitError: the frames have changed since ``chunk.as_is`` was decided.
    """
    found = read_pictures(chunk)
    if len(found.pictures) != chunk.frame_count:
        raise UnfitError("its file has changed")
    return b"".join((passthrough.init, *_fragments(chunk, found.pictures)))


def _fragments(chunk: Chunk, pictures: Sequence[Picture]) -> Iterator[bytes]:
    ticks = chunk.grid.frame_ticks
    for first, after in pairwise([0, *accumulate(chunk.segments)]):
        samples = [Sample(one.data, one.idr, one.place - first) for one in pictures[first:after]]
        yield avc_fragment(sequence=first + 1, time=first * ticks, frame_ticks=ticks, samples=samples)


def adopted(data: bytes, passthrough: Passthrough) -> bytes:
    """The encoded fragmented MP4 ``data``, with its init segment replaced by the one shared with the source's own video.

    Raises:
        MediaError: the encoder's parameter sets are not the expected ones.
    """
    init, fragments = split_file(data)
    if not configuration(init).parameter_sets <= configuration(passthrough.init).parameter_sets:
        raise MediaError("the encoder's parameter sets have changed; give every machine of a stream the same FFmpeg")
    return b"".join((passthrough.init, *fragments))
