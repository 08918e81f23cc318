"""The documents that ``--json`` prints. docs/cli-json.md is generated from these models (``make docs``).

Fields may be added; none is renamed or removed without a line in the changelog. Units are in the names: ``_ms``, ``_px``,
``_bps``, ``_hz``, ``_bytes``; points in time are ``_unix_ms`` (milliseconds since 1970-01-01T00:00:00Z); exact ratios are
strings such as "30000/1001".
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """Base of all documents."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CheckShape(Shape):
    """One check of the machine."""

    name: str
    status: Literal["ok", "warn", "fail"] = Field(
        description="fail: nothing can be transcoded; warn: some feature will not work."
    )
    detail: str = Field(description="What was found.")
    remedy: str = Field(description="What to do about it; empty if there is nothing to do.")


class DoctorDocument(Shape):
    """`streamwave doctor --json`"""

    ok: bool = Field(description="Whether no check failed; exit code 1 if false.")
    checks: list[CheckShape]


class VideoShape(Shape):
    """The video track of a source."""

    codec: str
    width_px: int = Field(description="As stored.")
    height_px: int
    shown_width_px: int = Field(description="As shown: rotated, with square pixels.")
    shown_height_px: int
    sample_aspect: str = Field(description="Width to height of a pixel, for example 64/45.")
    mirrored: bool = Field(description="Whether the image is flipped horizontally, before the rotation.")
    rotation_degrees: int
    frame_rate: str | None = Field(description="Frames per second as an exact ratio; null if unknown.")
    pixel_format: str
    interlaced: bool
    bit_rate_bps: int | None


class AudioShape(Shape):
    """The audio track of a source that is used."""

    codec: str
    channels: int
    sample_rate_hz: int


class PlannedShape(Shape):
    """A rendition that would be made."""

    name: str
    kind: Literal["video", "audio"]
    width_px: int | None = Field(description="null for audio.")
    height_px: int | None
    max_bps: int


class AdviceShape(Shape):
    """Something that the publisher could improve."""

    code: str
    text: str


class ProbeDocument(Shape):
    """`streamwave probe SOURCE --json`"""

    source: str
    container: str
    duration_ms: int | None = Field(description="null if unknown.")
    video: VideoShape | None
    audio: AudioShape | None
    audio_tracks: int
    notes: list[str] = Field(description="How the image and its colors are converted, in words.")
    renditions: list[PlannedShape]
    advice: list[AdviceShape] | None = Field(description="null where the source accepts only one connection.")


class AddressShape(Shape):
    """Where the result of a transcode was written."""

    output: str = Field(description="Folder or address.")
    dash: str
    hls: str


class TranscodeDocument(Shape):
    """`streamwave transcode SOURCE --json`"""

    outputs: list[AddressShape] = Field(description="Outputs that have the complete result.")
    incomplete_outputs: list[str] = Field(description="Outputs that lack a part of it; exit code 1 if there are any.")
    renditions: list[str]
    elapsed_ms: int
    notes: list[str]


class BroadcastShape(Shape):
    """A broadcast."""

    name: str = Field(description="STREAM/BROADCAST, as other commands expect it.")
    title: str
    state: Literal["live", "recorded", "cut off", "deleted", "damaged"]
    started_unix_ms: int
    ended_unix_ms: int | None = Field(description="null while it is live.")
    duration_ms: int = Field(description="Length of what can be watched.")
    on_air_ms: int | None = Field(description="Length of the whole broadcast if a DVR window keeps less; else null.")
    renditions: list[str]
    size_bytes: int
    outputs: list[str] = Field(description="Outputs that hold it.")


class BroadcastsDocument(Shape):
    """`streamwave broadcasts ls --json`"""

    broadcasts: list[BroadcastShape] = Field(description="Newest first.")
    faults: list[str] = Field(description="Outputs that could not be read; exit code 1 if there are any.")


class TrackShape(Shape):
    """A rendition within a period."""

    name: str
    kind: Literal["video", "audio"]
    codecs: str
    width_px: int | None = Field(description="null for audio.")
    height_px: int | None
    frame_rate: str | None
    channels: int | None = Field(description="null for video.")
    sample_rate_hz: int | None
    segments: int
    size_bytes: int
    average_bps: int
    peak_bps: int


class FillerShape(Shape):
    """A chunk that could not be decoded and was replaced by filler."""

    chunk: int
    renditions: list[str]
    at_ms: int = Field(description="From the start of the part of the period that can be watched.")


class PeriodShape(Shape):
    """A part of a broadcast with the same tracks throughout."""

    name: str
    session: str | None
    chunks: int | None = Field(description="null if the ledger no longer has the number.")
    start_ms: int
    duration_ms: int
    gap_after_ms: int = Field(description="Time before the next period in which nothing was received.")
    tracks: list[TrackShape]
    filler: list[FillerShape]


class LocationShape(Shape):
    """An address of a broadcast."""

    kind: str = Field(description="DASH, HLS or watch (the player page).")
    url: str


class ShowDocument(Shape):
    """`streamwave broadcasts show NAME --json`"""

    broadcast: BroadcastShape
    locations: list[LocationShape]
    periods: list[PeriodShape]
    warnings: list[str]


class ReportShape(Shape):
    """What was read from a rendition."""

    name: str
    kind: Literal["video", "audio"]
    samples: int = Field(description="Video frames or AAC frames.")
    segments: int
    duration_ms: int


class CopyShape(Shape):
    """A copy of a broadcast at one output."""

    output: str
    live: bool
    findings: list[str]
    renditions: list[ReportShape]


class VerifyDocument(Shape):
    """`streamwave broadcasts verify NAME --json`"""

    ok: bool = Field(description="No findings and no faults; exit code 1 if false.")
    decoded: bool = Field(description="Whether the media was decoded.")
    copies: list[CopyShape]
    without_copy: list[str] = Field(description="Outputs that hold no copy, which is not a fault.")
    faults: list[str] = Field(description="Outputs that could not be read.")


class FileShape(Shape):
    """A file that was written."""

    path: str
    duration_ms: int
    size_bytes: int


class ExportDocument(Shape):
    """`streamwave broadcasts export NAME --json`"""

    files: list[FileShape]


class StreamShape(Shape):
    """A stream; its key is not stored."""

    name: str
    title: str
    enabled: bool
    publishing: bool
    broadcast: str | None = Field(description="The broadcast that is being published; null if none.")
    created_unix_ms: int


class StreamsDocument(Shape):
    """`streamwave streams ls --json`"""

    streams: list[StreamShape]


class KeyDocument(Shape):
    """`streamwave streams add NAME --json` and `streamwave streams rotate-key NAME --json`"""

    name: str
    server: str = Field(description="RTMP address to publish to.")
    key: str = Field(description="Shown only this once.")
    watch: str = Field(description="Address of the player page.")


class CleanedShape(Shape):
    """Something that was removed or repaired."""

    output: str
    what: str
    action: Literal["remove", "repair"]
    why: str
    trouble: str | None = Field(description="Why it failed; null if it did not.")


class CleanDocument(Shape):
    """`streamwave broadcasts clean --json`"""

    dry_run: bool
    items: list[CleanedShape]
    faults: list[str] = Field(description="Outputs that could not be read.")
