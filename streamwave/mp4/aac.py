"""CMAF for AAC-LC: the init segment of a track and fragments of raw AAC frames (ISO/IEC 23000-19, clause 10)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from streamwave.errors import MediaError
from streamwave.mp4.asc import build_config, channel_configuration
from streamwave.mp4.boxes import box, full_box
from streamwave.timing import AAC_FRAME

# cmfc and cmf2 are the structural brands of CMAF (ISO/IEC 23000-19, 7.2); cmf2 implies, among other things, that there is no
# edit list. iso6 covers tfdt and default-base-is-moof.
_FTYP = box("ftyp", b"cmfc", bytes(4), b"iso6cmfccmf2")

_TRACK_ID = 1
_SYNC = 0x02000000  # sample_depends_on = 2: independent (ISO/IEC 14496-12, 8.8.3.1)
_MATRIX = struct.pack(">9I", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)  # unity
_UNDETERMINED = 0x55C4  # language "und", 5 bits per letter


def aac_init(sample_rate: int, channels: int, bit_rate_bps: int) -> bytes:
    """Init segment of an AAC-LC track without edit list, whose timescale is the sample rate.

    Raises:
        MediaError: AAC-LC does not support the sample rate (Hz) or number of channels.
    """
    if not 0 < bit_rate_bps < 1 << 32:
        raise MediaError(f"an audio bit rate of {bit_rate_bps} bit/s is impossible; choose for example 128000")
    mvhd = full_box(
        "mvhd", 0, 0, struct.pack(">4I", 0, 0, sample_rate, 0), struct.pack(">IH10x", 1 << 16, 1 << 8), _MATRIX,
        bytes(24), struct.pack(">I", _TRACK_ID + 1),
    )  # fmt: skip
    # Flags: enabled, in the movie. Alternate group 0, volume 1.0.
    tkhd = full_box("tkhd", 0, 3, struct.pack(">5I8xHHHxx", 0, 0, _TRACK_ID, 0, 0, 0, 0, 1 << 8), _MATRIX, bytes(8))
    mdhd = full_box("mdhd", 0, 0, struct.pack(">4IHH", 0, 0, sample_rate, 0, _UNDETERMINED, 0))
    hdlr = full_box("hdlr", 0, 0, struct.pack(">4x4s12x", b"soun"), b"SoundHandler\0")
    dref = full_box("dref", 0, 0, struct.pack(">I", 1), full_box("url ", 0, 1))
    # The sample rate is 16.16 fixed point; a rate that does not fit is stated only by the AudioSpecificConfig.
    rate = sample_rate << 16 if sample_rate < 1 << 16 else 0
    mp4a = box("mp4a", struct.pack(">6xH8xHH4xI", 1, channels, 16, rate), _esds(sample_rate, channels, bit_rate_bps))
    stbl = box(
        "stbl", full_box("stsd", 0, 0, struct.pack(">I", 1), mp4a), full_box("stts", 0, 0, bytes(4)),
        full_box("stsc", 0, 0, bytes(4)), full_box("stsz", 0, 0, bytes(8)), full_box("stco", 0, 0, bytes(4)),
    )  # fmt: skip
    minf = box("minf", full_box("smhd", 0, 0, bytes(4)), box("dinf", dref), stbl)
    trex = full_box("trex", 0, 0, struct.pack(">5I", _TRACK_ID, 1, AAC_FRAME, 0, _SYNC))
    return _FTYP + box("moov", mvhd, box("trak", tkhd, box("mdia", mdhd, hdlr, minf)), box("mvex", trex))


def aac_fragment(*, sequence: int, time: int, frames: Sequence[bytes]) -> bytes:
    """One moof + mdat with ``frames`` (raw AAC frames of 1024 samples), starting at ``time`` (ticks of the sample rate).

    Durations and flags are in the fragment itself, as the brand cmf2 requires (ISO/IEC 23000-19, 7.7.3).

    Raises:
        MediaError: there are no frames or an empty one, or a number is out of range.
    """
    if not frames or not all(frames):
        raise MediaError("an audio fragment needs at least one frame, and none may be empty; check the chunk's audio")
    if not 0 < sequence < 1 << 32 or not 0 <= time < 1 << 64:
        raise MediaError(f"a fragment cannot have sequence number {sequence} and time {time}; check the timeline")
    # default-base-is-moof, default duration, default flags; then data offset and sample sizes in trun.
    tfhd = full_box("tfhd", 0, 0x020028, struct.pack(">3I", _TRACK_ID, AAC_FRAME, _SYNC))
    tfdt = full_box("tfdt", 1, 0, struct.pack(">Q", time))
    mfhd = full_box("mfhd", 0, 0, struct.pack(">I", sequence))
    sizes = struct.pack(f">{len(frames)}I", *map(len, frames))
    mdat = box("mdat", *frames)

    def moof(data_offset: int) -> bytes:
        trun = full_box("trun", 0, 0x201, struct.pack(">Ii", len(frames), data_offset), sizes)
        return box("moof", mfhd, box("traf", tfhd, tfdt, trun))

    return moof(len(moof(0)) + 8) + mdat


def _esds(sample_rate: int, channels: int, bit_rate_bps: int) -> bytes:
    """Elementary stream descriptors (ISO/IEC 14496-1, 7.2.6). Each is a tag, a length in one byte, and its content."""

    def descriptor(tag: int, *content: bytes) -> bytes:
        joined = b"".join(content)
        return bytes((tag, len(joined))) + joined

    channel_configuration(channels)
    buffer_bytes = 768 * channels  # 6144 bits per channel is the largest frame (ISO/IEC 14496-3, 4.5.3.1)
    decoder = struct.pack(">BB", 0x40, 5 << 2 | 1) + buffer_bytes.to_bytes(3, "big")  # MPEG-4 audio, audio stream
    decoder += struct.pack(">II", bit_rate_bps, bit_rate_bps)
    info = descriptor(5, build_config(sample_rate, channels))
    return full_box("esds", 0, 0, descriptor(3, bytes(3), descriptor(4, decoder, info), descriptor(6, b"\x02")))
