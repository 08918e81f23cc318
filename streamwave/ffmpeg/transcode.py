"""Transcode a chunk into renditions, and verify the results."""

from __future__ import annotations

import errno
import functools
import logging
import os
import re
import shutil
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from streamwave.errors import FFmpegError, MediaError
from streamwave.ffmpeg.commands import EncoderSettings, check_argv, filler_argv, transcode_argv
from streamwave.ffmpeg.limits import ChunkLimits
from streamwave.ffmpeg.meter import Meter
from streamwave.ffmpeg.process import Launcher
from streamwave.ffmpeg.source_pictures import adopted, as_rendition
from streamwave.model import Chunk, Passthrough, Rendition
from streamwave.mp4.aac import aac_fragment, aac_init
from streamwave.mp4.adts import read_adts
from streamwave.mp4.fragment import read_fragment
from streamwave.mp4.init import read_init
from streamwave.mp4.split import split_file
from streamwave.timing import AAC_FRAME
from streamwave.util.files import link_file, replace_file

log = logging.getLogger("streamwave.transcode")

#: Suffix of the empty file that marks a result as filler.
FILLER = ".filled"
#: Suffix of the empty file that marks a result in which a frame is repeated because others could not be decoded.
DAMAGED = ".damaged"
#: Messages of a decoder about frames with errors, even if it shows them.
_COMPLAINT = re.compile(r"\bh264 @|corrupt|error|invalid", re.IGNORECASE)
#: Messages of FFmpeg or a decoder about frames that it drops or conceals.
_DAMAGE = re.compile(r"error while decoding|error submitting packet to decoder|damaged at|no frame!", re.IGNORECASE)


@dataclass(frozen=True)
class Encoded:
    """Results from another machine: the files by rendition, those in which a frame is repeated (``DAMAGED``), and where and how
    fast they were made, for people.
    """

    files: Mapping[str, bytes]
    damaged: frozenset[str]
    where: str


class Elsewhere(Protocol):
    """Encodes on other machines."""

    def encode(self, transcoder: Transcoder, chunk: Chunk, renditions: Sequence[Rendition]) -> Encoded:
        """What ``transcoder`` would make of ``chunk``. Raises what ``Transcoder.encode`` raises."""


@dataclass(frozen=True)
class Transcoder:
    """What all chunks of a job have in common. ``work`` is the folder for results. ``elsewhere``: encode on other machines.

    The renditions of a chunk are divided among ``processes`` FFmpeg processes, each of which decodes it. ``meter`` counts the
    time that this takes.
    """

    ffmpeg_path: str
    encoder: EncoderSettings
    launcher: Launcher
    work: Path
    timeout_s: float
    limits: ChunkLimits = ChunkLimits()
    passthrough: Passthrough | None = None
    elsewhere: Elsewhere | None = None
    meter: Meter = field(default_factory=Meter)
    processes: int = 1

    def result_path(self, chunk: Chunk, name: str) -> Path:
        """Path of a chunk's transcoded file in a rendition."""
        return self.work / f"{chunk.number:06d}" / f"{name}.mp4"

    def encode(self, chunk: Chunk, renditions: Sequence[Rendition]) -> str | None:
        """Run one FFmpeg process for ``renditions``, verify the results, and move them into place.

        Returns where it ran, if that was on another machine.

        If frames cannot be decoded, the frame before them is repeated, and the result is marked as damaged. The passthrough
        rendition uses the source's own video if FFmpeg decodes the chunk without any message, and is encoded otherwise.

        Raises:
            TooCostlyError: the process exceeded ``limits``.
            FFmpegError: the process failed.
            OSError: there is no space left for its result.
            MediaError: a result does not have exactly the frames and fragments of the chunk.
        """
        where = self._encode_all(chunk, renditions)
        self.meter.encoded(float(chunk.duration_s), len(renditions))
        return where

    def _encode_all(self, chunk: Chunk, renditions: Sequence[Rendition]) -> str | None:
        renditions = [r for r in renditions if not self._known(chunk, r)]
        if not renditions:
            return None
        if self.elsewhere is not None:
            made = self.elsewhere.encode(self, chunk, renditions)
            self._put(chunk, renditions, made)
            return made.where
        own = [r for r in renditions if chunk.as_is and self._is_own(r)]
        encoded = [r for r in renditions if r not in own]
        said = self._encode(chunk, encoded) if encoded else self._check(chunk)
        complaint = next((line for line in said.splitlines() if _COMPLAINT.search(line)), None)
        if own and complaint is not None:
            log.info(
                "chunk %d: %s is encoded, not passed through: FFmpeg reports %s", chunk.number, own[0].name, complaint
            )
            self._encode(chunk, own)
        elif own:
            data = as_rendition(chunk, self.passthrough) if self.passthrough else b""
            check_video(data, chunk, f"chunk {chunk.number} {own[0].name}")
            path = self.result_path(chunk, own[0].name)
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, data)
        return None

    def _put(self, chunk: Chunk, renditions: Sequence[Rendition], made: Encoded) -> None:
        """Store results from another machine, which has verified them."""
        for rendition in renditions:
            path = self.result_path(chunk, rendition.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, made.files[rendition.name])
            self._mark(chunk, rendition, damaged=rendition.name in made.damaged)

    def _mark(self, chunk: Chunk, rendition: Rendition, *, damaged: bool) -> None:
        if damaged:
            self.result_path(chunk, rendition.name).with_suffix(DAMAGED).touch()
        elif chunk.held is not None:
            self._keep(chunk, chunk.held, rendition)

    def _held_path(self, chunk: Chunk, name: str) -> Path:
        """Where the result of a chunk that repeats one frame is kept for other chunks of the same frame and length."""
        return self.work / f"held-{chunk.held}" / f"{'-'.join(map(str, chunk.segments))}.{name}.mp4"

    def _known(self, chunk: Chunk, rendition: Rendition) -> bool:
        """Use the result of an earlier chunk that repeats the same frame for as long; False if there is none."""
        if chunk.held is None:
            return False
        path = self.result_path(chunk, rendition.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            link_file(self._held_path(chunk, rendition.name), path)
        except FileNotFoundError:
            return False
        return True

    def _keep(self, chunk: Chunk, held: int, rendition: Rendition) -> None:
        """Keep the result for later chunks of the same frame and length, and remove results of earlier frames."""
        for folder in self.work.glob("held-*"):
            if int(folder.name.removeprefix("held-")) < held:
                shutil.rmtree(folder, ignore_errors=True)
        kept = self._held_path(chunk, rendition.name)
        with suppress(FileNotFoundError):  # a later repeated frame has replaced it
            kept.parent.mkdir(parents=True, exist_ok=True)
            link_file(self.result_path(chunk, rendition.name), kept)

    def _is_own(self, rendition: Rendition) -> bool:
        return self.passthrough is not None and rendition.name == self.passthrough.rendition

    def _check(self, chunk: Chunk) -> str:
        argv = check_argv(self.ffmpeg_path, chunk, self.encoder)
        return self._run(argv, f"chunk {chunk.number}, decoded", chunk, []).strip()

    def _encode(self, chunk: Chunk, renditions: Sequence[Rendition]) -> str:
        """Encode ``renditions``; return FFmpeg's messages."""
        groups = divided(renditions, self.processes)
        if len(groups) == 1:
            return self._encode_together(chunk, renditions)
        with ThreadPoolExecutor(len(groups)) as pool:
            return "\n".join(pool.map(functools.partial(self._encode_together, chunk), groups))

    def _encode_together(self, chunk: Chunk, renditions: Sequence[Rendition]) -> str:
        folder = self.work / f"{chunk.number:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        # A unique name per attempt, because an abandoned one may still be writing on another machine.
        parts = {r.name: folder / f"{r.name}.{_unique()}.part" for r in renditions}
        argv = transcode_argv(self.ffmpeg_path, chunk, parts, {r.name: r for r in renditions}, self.encoder)
        what = f"chunk {chunk.number} to {', '.join(parts)}"
        try:
            said = self._run(argv, what, chunk, renditions)
            for rendition in renditions:
                self._take(chunk, rendition, parts[rendition.name])
                self._mark(chunk, rendition, damaged=_DAMAGE.search(said) is not None)
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)
        return said.strip()

    def _take(self, chunk: Chunk, rendition: Rendition, part: Path) -> None:
        """Verify FFmpeg's output for a rendition, and move it into place."""
        data = part.read_bytes()
        check_video(data, chunk, f"chunk {chunk.number} {rendition.name}")
        if self.passthrough is not None and self._is_own(rendition):
            part.write_bytes(adopted(data, self.passthrough))
        part.replace(self.result_path(chunk, rendition.name))

    def put_filler(self, chunk: Chunk, rendition: Rendition) -> None:
        """Write filler (black frames) for a chunk of which nothing can be decoded, and mark it as such.

        Raises:
            FFmpegError: even that failed.
        """
        path = self.result_path(chunk, rendition.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{_unique()}.part")
        argv = filler_argv(self.ffmpeg_path, chunk, part, rendition, self.encoder)
        try:
            self._run(argv, f"chunk {chunk.number} {rendition.name} in black", chunk, [rendition])
            self._take(chunk, rendition, part)
            path.with_suffix(FILLER).touch()
        finally:
            part.unlink(missing_ok=True)

    def init_segment(self, chunk: Chunk, rendition: Rendition) -> bytes:
        """The init segment of ``rendition`` as an encode of ``chunk`` would have it, taken from an encode of one black frame.

        Raises:
            FFmpegError: the process failed.
            MediaError: its output has no init segment.
        """
        one = chunk.model_copy(update={"frame_count": 1, "segments": (1,)})
        path = self.work / f"{rendition.name}-init.{_unique()}.part"
        self.work.mkdir(parents=True, exist_ok=True)
        try:
            argv = filler_argv(self.ffmpeg_path, one, path, rendition, self.encoder)
            self._run(argv, f"{rendition.name}, one picture", one, [rendition])
            return split_file(path.read_bytes())[0]
        finally:
            path.unlink(missing_ok=True)

    def _run(self, argv: Sequence[str], what: str, chunk: Chunk, renditions: Sequence[Rendition]) -> str:
        """Run FFmpeg; return the tail of its messages."""
        failure: FFmpegError | None = None
        limits = self.limits.process(chunk, self.encoder.video, renditions, self.encoder.preset)
        try:
            with self.meter.stage("wait") as turn:
                said = self.launcher.run(
                    argv, what=what, timeout_s=self.timeout_s, limits=limits, on_slot=lambda: turn("encode")
                )
        except FFmpegError as error:
            said, failure = error.stderr_tail, error
        # A full disk is not the chunk's fault, so it must not be replaced by filler. A failed write at close does not affect
        # FFmpeg's exit status, so even status 0 may come with a truncated result.
        for number in (errno.ENOSPC, errno.EDQUOT):
            if os.strerror(number) in said:
                raise OSError(number, os.strerror(number), str(self.work)) from failure
        if failure is not None:
            raise failure
        return said


def divided(renditions: Sequence[Rendition], groups: int) -> list[Sequence[Rendition]]:
    """``renditions``, of which the first are the most expensive, in at most ``groups`` groups of about the same cost."""
    alone = min(groups, len(renditions)) - 1
    return [*([one] for one in renditions[:alone]), renditions[alone:]]


def _unique() -> str:
    return f"{os.getpid()}.{threading.get_ident()}"


def check_video(data: bytes, chunk: Chunk, what: str) -> None:
    """Check that ``data`` has the chunk's frames, divided into its segments as planned.

    Raises:
        MediaError: it does not; the message has the actual and the expected numbers.
    """
    init, fragments = split_file(data)
    summary = read_init(init)
    lengths = tuple(read_fragment(fragment, summary).sample_count for fragment in fragments)
    if lengths != chunk.segments:
        raise MediaError(
            f"{what}: FFmpeg produced {sum(lengths)} frames in segments of {list(lengths)}, expected "
            f"{chunk.frame_count} in segments of {list(chunk.segments)}"
        )


def wrap_audio(transcoder: Transcoder, chunk: Chunk, rendition: Rendition) -> Path:
    """Package the chunk's AAC frames, which were encoded on arrival, as CMAF fragments; return the path of the result.

    Raises:
        MediaError: the chunk's audio file does not have the frames that the journal lists.
    """
    try:
        frames = read_adts(Path(chunk.audio_path).read_bytes()) if chunk.audio_path else []
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EIO):
            raise
        raise MediaError(f"chunk {chunk.number} audio: its file cannot be read ({error.strerror})") from None
    if len(frames) != chunk.audio_count:
        raise MediaError(
            f"chunk {chunk.number} audio: its file has {len(frames)} AAC frames, expected {chunk.audio_count}"
        )
    return put_audio(transcoder, chunk, rendition, frames)


def put_audio(transcoder: Transcoder, chunk: Chunk, rendition: Rendition, frames: Sequence[bytes]) -> Path:
    """Package ``frames``, which must be as many as the chunk has, as CMAF fragments; return the path of the result."""
    pieces = [aac_init(rendition.sample_rate, rendition.channels, rendition.max_bps)]
    for time_ticks, duration in chunk.boundaries(rendition):
        first = time_ticks // AAC_FRAME - chunk.audio_first
        inside = frames[first : first + duration // AAC_FRAME]
        pieces.append(aac_fragment(sequence=time_ticks // AAC_FRAME + 1, time=time_ticks, frames=inside))
    path = transcoder.result_path(chunk, rendition.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, b"".join(pieces))
    return path
