"""AudioSpecificConfig: two or more bytes that configure an AAC decoder (ISO/IEC 14496-3, 1.6.2.1)."""

from __future__ import annotations

from typing import NamedTuple

from streamwave.errors import MediaError
from streamwave.mp4.bits import BitReader

#: Audio object type of AAC-LC, the only one that StreamWave writes (ISO/IEC 14496-3, table 1.17).
AAC_LC = 2

#: Sample rates by samplingFrequencyIndex (ISO/IEC 14496-3, table 1.18).
SAMPLE_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)

#: Channels by channelConfiguration (ISO/IEC 14496-3, table 1.19); 0 means that the stream itself states them.
CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8)


class AudioConfig(NamedTuple):
    """The content of an AudioSpecificConfig: object type (2 is AAC-LC), sample rate in Hz, number of channels."""

    object_type: int
    sample_rate: int
    channels: int


def rate_index(sample_rate: int) -> int:
    """samplingFrequencyIndex of a sample rate in Hz; MediaError if AAC does not have that rate."""
    if sample_rate not in SAMPLE_RATES:
        raise MediaError(f"AAC has no sample rate of {sample_rate} Hz; resample to 48000")
    return SAMPLE_RATES.index(sample_rate)


def channel_configuration(channels: int) -> int:
    """channelConfiguration of a number of channels; MediaError if AAC does not have one."""
    if channels not in CHANNELS[1:]:
        raise MediaError(f"AAC has no configuration for {channels} channels; mix down to 2")
    return CHANNELS.index(channels)


def build_config(sample_rate: int, channels: int) -> bytes:
    """The 2 bytes of an AudioSpecificConfig for AAC-LC with 1024 samples per frame."""
    bits = AAC_LC << 11 | rate_index(sample_rate) << 7 | channel_configuration(channels) << 3
    return bits.to_bytes(2, "big")


def read_config(data: bytes) -> AudioConfig:
    """Parse an AudioSpecificConfig; MediaError if it is truncated or uses a reserved value."""
    take = BitReader(data, "truncated AudioSpecificConfig; re-create the file").u
    object_type = take(5)
    if object_type == 31:
        object_type = 32 + take(6)
    index = take(4)
    if index != 15 and index >= len(SAMPLE_RATES):
        raise MediaError(f"AudioSpecificConfig uses the reserved sample rate index {index}; re-create the file")
    sample_rate = take(24) if index == 15 else SAMPLE_RATES[index]
    configuration = take(4)
    if configuration >= len(CHANNELS):
        raise MediaError(f"AudioSpecificConfig uses the unknown channel layout {configuration}; mix down to 2 channels")
    return AudioConfig(object_type, sample_rate, CHANNELS[configuration])
