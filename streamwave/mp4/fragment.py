"""Parse a fragment (moof + mdat): times, durations and positions of its samples (ISO/IEC 14496-12, 8.8)."""

from __future__ import annotations

from dataclasses import dataclass

from streamwave.errors import MediaError
from streamwave.mp4.boxes import Box, Fields, find_all, need
from streamwave.mp4.init import InitSummary

#: Bit of the sample flags for samples at which decoding cannot begin (ISO/IEC 14496-12, 8.8.3.1).
NON_SYNC = 0x10000

# Flags of tfhd (8.8.7.1).
_BASE_OFFSET, _DESCRIPTION, _DEFAULT_DURATION, _DEFAULT_SIZE, _DEFAULT_FLAGS = 0x1, 0x2, 0x8, 0x10, 0x20

#: Flags of trun (8.8.8.1): two fields of the run, then the fields of every sample, in file order.
DATA_OFFSET, FIRST_FLAGS, DURATION, SIZE, FLAGS, OFFSET = 0x1, 0x4, 0x100, 0x200, 0x400, 0x800


@dataclass(frozen=True)
class FragmentSummary:
    """The samples of one fragment in decoding order; every tuple has one member per sample.

    ``time`` is the decode time of the first sample (tfdt), ``durations`` are in ticks of the track's timescale too, and so are
    ``composition_offsets`` (composition time minus decode time as stored; may be negative). ``sizes`` are in bytes,
    ``positions``
    are offsets of the samples in the fragment, ``syncs`` tells whether decoding can begin at a sample. ``edit_ticks`` comes
    from the init segment's edit list: presentation time is composition time minus ``edit_ticks``.
    """

    sequence: int
    time: int
    durations: tuple[int, ...]
    sizes: tuple[int, ...]
    composition_offsets: tuple[int, ...]
    syncs: tuple[bool, ...]
    positions: tuple[int, ...]
    edit_ticks: int = 0

    @property
    def sample_count(self) -> int:
        """Number of samples: video frames, or AAC frames."""
        return len(self.sizes)

    @property
    def duration(self) -> int:
        """Sum of the durations, in ticks."""
        return sum(self.durations)

    @property
    def presentation_times(self) -> tuple[int, ...]:
        """Presentation time of each sample in ticks, in decoding order, with the edit list applied."""
        times, decode = [], self.time - self.edit_ticks
        for duration, offset in zip(self.durations, self.composition_offsets, strict=True):
            times.append(decode + offset)
            decode += duration
        return tuple(times)

    @property
    def earliest(self) -> int:
        """The earliest presentation time of a sample, in ticks."""
        return min(self.presentation_times)


def read_fragment(fragment: bytes, init: InitSummary) -> FragmentSummary:
    """Parse ``fragment``, whose track ``init`` describes.

    Raises:
        MediaError: boxes are missing, truncated or belong to another track, samples lie outside the mdat, or addressing is
            relative to the file (base-data-offset).
    """
    moof, mdat = need(fragment, "moof"), need(fragment, "mdat")
    traf = need(fragment, "traf", moof.payload, moof.end)
    mfhd = Fields(fragment, need(fragment, "mfhd", moof.payload, moof.end))
    mfhd.version_flags()
    sequence = mfhd.unsigned(4)
    tfdt = Fields(fragment, need(fragment, "tfdt", traf.payload, traf.end))
    time = tfdt.unsigned(8 if tfdt.version_flags()[0] else 4)

    tfhd = Fields(fragment, need(fragment, "tfhd", traf.payload, traf.end))
    _, flags = tfhd.version_flags()
    if (track_id := tfhd.unsigned(4)) != init.track_id:
        raise MediaError(
            f"a fragment belongs to track {track_id}, the init segment to {init.track_id}; use its own init"
        )
    if flags & _BASE_OFFSET:
        raise MediaError("a fragment cannot be moved because it has absolute offsets; encode with -movflags +cmaf")
    if flags & _DESCRIPTION:
        tfhd.unsigned(4)
    defaults = (
        tfhd.unsigned(4) if flags & _DEFAULT_DURATION else init.default_duration,
        tfhd.unsigned(4) if flags & _DEFAULT_SIZE else init.default_size,
        tfhd.unsigned(4) if flags & _DEFAULT_FLAGS else init.default_flags,
    )

    samples: list[tuple[int, int, int, bool, int]] = []
    position = moof.start  # without a data offset the first run begins at the moof (8.8.8.3)
    for trun in find_all(fragment, "trun", traf.payload, traf.end):
        position = _read_run(fragment, trun, defaults, moof.start, position, mdat, samples)
    if not samples:
        raise MediaError("a fragment has no samples; re-create the file")
    durations, sizes, offsets, syncs, positions = zip(*samples, strict=True)
    return FragmentSummary(sequence, time, durations, sizes, offsets, syncs, positions, init.edit_ticks)


def _read_run(
    data: bytes,
    trun: Box,
    defaults: tuple[int, int, int],
    base: int,
    position: int,
    mdat: Box,
    samples: list[tuple[int, int, int, bool, int]],
) -> int:
    """Append (duration, size, composition offset, sync, position) of each sample; return where the run's data ends."""
    fields = Fields(data, trun)
    version, flags = fields.version_flags()
    count = fields.unsigned(4)
    if count > mdat.end - mdat.payload:  # a sample has at least one byte; checked first, so a bogus count costs nothing
        raise MediaError(f"damaged MP4: a run of {count} samples is larger than its mdat; re-create the file")
    if flags & DATA_OFFSET:
        position = base + fields.signed(4)
    first_flags = fields.unsigned(4) if flags & FIRST_FLAGS else None
    for number in range(count):
        duration = fields.unsigned(4) if flags & DURATION else defaults[0]
        size = fields.unsigned(4) if flags & SIZE else defaults[1]
        sample_flags = fields.unsigned(4) if flags & FLAGS else defaults[2]
        if number == 0 and first_flags is not None:
            sample_flags = first_flags
        # Offsets are unsigned in version 0, signed in version 1.
        offset = 0 if not flags & OFFSET else fields.signed(4) if version else fields.unsigned(4)
        if size == 0 or position < mdat.payload or position + size > mdat.end:
            raise MediaError(
                f"damaged MP4: sample {len(samples)} ({size} bytes at {position}) lies outside the mdat; "
                "re-create the file"
            )
        samples.append((duration, size, offset, not sample_flags & NON_SYNC, position))
        position += size
    return position
