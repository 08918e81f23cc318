"""Parse the init segment of a single track (ISO/IEC 14496-12, 8.2 to 8.8; ISO/IEC 14496-15, 5.3; RFC 6381)."""

from __future__ import annotations

from dataclasses import dataclass

from streamwave.errors import MediaError
from streamwave.mp4.asc import read_config
from streamwave.mp4.boxes import Box, Fields, find, iter_boxes, need

#: Bytes between the header of a sample entry and its first inner box (ISO/IEC 14496-12, 12.1.3 and 12.2.3).
VISUAL_ENTRY, AUDIO_ENTRY = 78, 28


@dataclass(frozen=True)
class InitSummary:
    """The track of an init segment.

    ``codecs`` is an RFC 6381 string, ``timescale`` in ticks per second, ``handler`` "vide" or "soun". Video has
    ``width_px``, ``height_px`` and ``nal_length_bytes``, audio has ``sample_rate`` and ``channels``; the others are 0.
    ``default_*`` are the defaults of the track's samples (trex): ticks, bytes, and flags as in ISO/IEC 14496-12, 8.8.3.
    ``edit_ticks`` is the media time at which the presentation begins (the edit list's media_time; 0 without an edit list):
    presentation time is composition time minus ``edit_ticks``.
    """

    codecs: str
    handler: str
    timescale: int
    track_id: int
    width_px: int = 0
    height_px: int = 0
    nal_length_bytes: int = 0
    sample_rate: int = 0
    channels: int = 0
    default_duration: int = 0
    default_size: int = 0
    default_flags: int = 0
    edit_ticks: int = 0


def read_init(init: bytes) -> InitSummary:
    """Parse an init segment with one track of H.264 ("avc1", "avc3") or AAC ("mp4a").

    Raises:
        MediaError: it is damaged, or has several tracks, another codec, or an edit list that does more than shift the start.
    """
    track = need(init, "moov/trak")
    media = need(init, "mdia", track.payload, track.end)
    track_id = _after_times(init, need(init, "tkhd", track.payload, track.end))
    timescale = _after_times(init, need(init, "mdhd", media.payload, media.end))
    if timescale == 0:
        raise MediaError("damaged MP4: the timescale is 0; re-create the file")
    hdlr = Fields(init, need(init, "hdlr", media.payload, media.end))
    hdlr.raw(8)
    handler = hdlr.raw(4).decode("latin-1")
    trex = Fields(init, need(init, "moov/mvex/trex"))
    trex.version_flags()
    if trex.unsigned(4) != track_id:
        raise MediaError("damaged MP4: trex belongs to another track; re-create the file")
    trex.unsigned(4)
    duration, size, flags = trex.unsigned(4), trex.unsigned(4), trex.unsigned(4)

    entry = sample_entry(init)
    fields = Fields(init, entry)
    common = (handler, timescale, track_id)
    defaults = (duration, size, flags, _edit_ticks(init, track))
    if entry.type in ("avc1", "avc3"):
        fields.raw(24)
        width, height = fields.unsigned(2), fields.unsigned(2)
        avcc = Fields(init, need(init, "avcC", entry.payload + VISUAL_ENTRY, entry.end))
        version, profile, constraints, level, lengths = avcc.raw(5)
        if version != 1:
            raise MediaError(f"damaged MP4: avcC has the unknown version {version}; re-create the file")
        codecs = f"{entry.type}.{profile:02X}{constraints:02X}{level:02X}"
        return InitSummary(codecs, *common, width, height, (lengths & 3) + 1, 0, 0, *defaults)
    if entry.type == "mp4a":
        config = read_config(_decoder_info(init, need(init, "esds", entry.payload + AUDIO_ENTRY, entry.end)))
        codecs = f"mp4a.40.{config.object_type}"
        return InitSummary(codecs, *common, 0, 0, 0, config.sample_rate, config.channels, *defaults)
    raise MediaError(f"the codec {entry.type!r} is not supported; encode to H.264 or AAC-LC")


def sample_entry(init: bytes) -> Box:
    """The only sample entry of the only track."""
    stsd = need(init, "moov/trak/mdia/minf/stbl/stsd")
    entries = list(iter_boxes(init, stsd.payload + 8, stsd.end))
    if len(entries) != 1:
        raise MediaError(f"an init segment must have one sample entry, this one has {len(entries)}; re-create it")
    return entries[0]


def _edit_ticks(data: bytes, track: Box) -> int:
    """media_time of the track's edit list (ISO/IEC 14496-12, 8.6.6). Only lists that shift the start are supported.

    The segment duration is ignored, because the track's duration is not known when the init segment is written.
    """
    elst = find(data, "edts/elst", track.payload, track.end)
    if elst is None:
        return 0
    fields = Fields(data, elst)
    version, _ = fields.version_flags()
    count = fields.unsigned(4)
    if count == 0:
        return 0
    wide = 8 if version else 4
    fields.raw(wide)
    media_time, rate = fields.signed(wide), fields.unsigned(4)
    if count > 1 or media_time < 0 or rate != 1 << 16:
        raise MediaError("an edit list does more than shift the start; encode with -movflags +cmaf")
    return media_time


def _after_times(data: bytes, box: Box) -> int:
    """The 32-bit field that follows the creation and modification times: a track id (tkhd) or timescale (mdhd)."""
    fields = Fields(data, box)
    version, _ = fields.version_flags()
    fields.raw(16 if version else 8)
    return fields.unsigned(4)


def _decoder_info(data: bytes, esds: Box) -> bytes:
    """DecoderSpecificInfo inside the nested descriptors of an esds box (ISO/IEC 14496-1, 7.2.6)."""
    fields = Fields(data, esds)
    fields.version_flags()

    def enter(wanted: int) -> int:
        """Read the header of the descriptor with tag ``wanted``; return its length in bytes."""
        if (tag := fields.unsigned(1)) != wanted:
            raise MediaError(f"damaged MP4: descriptor {tag} instead of {wanted} in esds; re-create the file")
        length = 0
        for _ in range(4):
            byte = fields.unsigned(1)
            length = length << 7 | byte & 0x7F
            if byte < 0x80:
                break
        return length

    enter(3)
    fields.raw(2)
    flags = fields.unsigned(1)
    if flags & 0x80:  # depends on another stream
        fields.raw(2)
    if flags & 0x40:  # has a URL
        fields.raw(fields.unsigned(1))
    if flags & 0x20:  # has a clock reference
        fields.raw(2)
    enter(4)
    if (object_type := fields.unsigned(1)) != 0x40:
        raise MediaError(f"the audio in mp4a is not MPEG-4 audio (object type {object_type:#x}); encode to AAC-LC")
    fields.raw(12)
    return fields.raw(enter(5))
