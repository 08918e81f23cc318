"""Transcode a chunk into renditions: who joins whom in one FFmpeg process, and what counts as a good result."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from streamwave.errors import FFmpegError, MediaError
from streamwave.ffmpeg.commands import EncoderSettings, check_argv, filler_argv, transcode_argv
from streamwave.ffmpeg.limits import ChunkLimits
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

#: How long the first of a chunk's tasks waits for the others to join its process: much longer than they take to arrive
#: where they run on the same machine, even when that is busy. To decode for each of them would make it busier still.
JOIN_S = 3.0
#: Suffix of the empty file beside a result that is a stand-in.
FILLER = ".filled"
#: The same beside a result in which the picture stands still where some could not be decoded.
DAMAGED = ".damaged"
#: What a decoder says of pictures that are not as they should be, be it that it shows them all the same.
_COMPLAINT = re.compile(r"\bh264 @|corrupt|error|invalid", re.IGNORECASE)
#: What FFmpeg, or a decoder, says of pictures that it passes over, or conceals.
_DAMAGE = re.compile(r"error while decoding|error submitting packet to decoder|damaged at|no frame!", re.IGNORECASE)


@dataclass(frozen=True)
class Transcoder:
    """What is the same for all chunks of a job. ``work`` is the folder for results."""

    ffmpeg_path: str
    encoder: EncoderSettings
    launcher: Launcher
    work: Path
    timeout_s: float
    limits: ChunkLimits = ChunkLimits()
    passthrough: Passthrough | None = None

    def result_path(self, chunk: Chunk, name: str) -> Path:
        """Where the transcoded file of a chunk in a rendition lies."""
        return self.work / f"{chunk.number:06d}" / f"{name}.mp4"

    def encode(self, chunk: Chunk, renditions: Sequence[Rendition]) -> None:
        """Run one FFmpeg process for ``renditions`` and put each checked result in its place.

        Where pictures cannot be decoded, the one before stands still, and a mark is left that says so. The rendition that
        may be the source's own pictures is those if FFmpeg decodes the chunk without a word, and is encoded if not.

        Raises:
            TooCostlyError: the process exceeded ``limits``.
            FFmpegError: it failed.
            OSError: there is no space left for its result.
            MediaError: a result has not exactly the pictures and fragments that the chunk asks for.
        """
        renditions = [r for r in renditions if not self._known(chunk, r)]
        if not renditions:
            return
        own = [r for r in renditions if chunk.as_is and self._is_own(r)]
        encoded = [r for r in renditions if r not in own]
        said = self._encode(chunk, encoded) if encoded else self._check(chunk)
        complaint = next((line for line in said.splitlines() if _COMPLAINT.search(line)), None)
        if own and complaint is not None:
            log.info("chunk %d is encoded in %s: FFmpeg says %s", chunk.number, own[0].name, complaint)
            self._encode(chunk, own)
        elif own:
            data = as_rendition(chunk, self.passthrough) if self.passthrough else b""
            check_video(data, chunk, f"chunk {chunk.number} {own[0].name}")
            path = self.result_path(chunk, own[0].name)
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, data)

    def _held_path(self, chunk: Chunk, name: str) -> Path:
        """Where the result of a chunk whose picture stands still is kept for those that show the same for as long."""
        return self.work / f"held-{chunk.held}" / f"{'-'.join(map(str, chunk.segments))}.{name}.mp4"

    def _known(self, chunk: Chunk, rendition: Rendition) -> bool:
        """Whether the same picture stood still for as long before; what came out for it is then the result."""
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
        """Keep the result for chunks that show the same for as long, and nothing of pictures that stood still before."""
        for folder in self.work.glob("held-*"):
            if int(folder.name.removeprefix("held-")) < held:
                shutil.rmtree(folder, ignore_errors=True)
        kept = self._held_path(chunk, rendition.name)
        with suppress(FileNotFoundError):  # another one stands still by now
            kept.parent.mkdir(parents=True, exist_ok=True)
            link_file(self.result_path(chunk, rendition.name), kept)

    def _is_own(self, rendition: Rendition) -> bool:
        return self.passthrough is not None and rendition.name == self.passthrough.rendition

    def _check(self, chunk: Chunk) -> str:
        argv = check_argv(self.ffmpeg_path, chunk, self.encoder)
        return self._run(argv, f"chunk {chunk.number}, decoded", chunk, []).strip()

    def _encode(self, chunk: Chunk, renditions: Sequence[Rendition]) -> str:
        """Encode ``renditions``; what FFmpeg has said."""
        folder = self.work / f"{chunk.number:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        # A name of its own for every try: one that was given up may still be writing on another machine.
        parts = {r.name: folder / f"{r.name}.{_unique()}.part" for r in renditions}
        argv = transcode_argv(self.ffmpeg_path, chunk, parts, {r.name: r for r in renditions}, self.encoder)
        what = f"chunk {chunk.number} to {', '.join(parts)}"
        try:
            said = self._run(argv, what, chunk, renditions)
            for rendition in renditions:
                self._take(chunk, rendition, parts[rendition.name])
                if _DAMAGE.search(said):
                    self.result_path(chunk, rendition.name).with_suffix(DAMAGED).touch()
                elif chunk.held is not None:
                    self._keep(chunk, chunk.held, rendition)
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)
        return said.strip()

    def _take(self, chunk: Chunk, rendition: Rendition, part: Path) -> None:
        """Check what FFmpeg has written for a rendition, and put it in its place."""
        data = part.read_bytes()
        check_video(data, chunk, f"chunk {chunk.number} {rendition.name}")
        if self.passthrough is not None and self._is_own(rendition):
            part.write_bytes(adopted(data, self.passthrough))
        part.replace(self.result_path(chunk, rendition.name))

    def put_filler(self, chunk: Chunk, rendition: Rendition) -> None:
        """Put black pictures in the place of a chunk of which nothing can be decoded, and leave a mark that says so.

        Raises:
            FFmpegError: not even that worked.
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
        """The init segment that an encode of ``chunk`` in ``rendition`` has, told by that of a single black picture.

        Raises:
            FFmpegError: the process failed.
            MediaError: it wrote no init segment.
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
        """What FFmpeg has said last."""
        failure: FFmpegError | None = None
        limits = self.limits.process(chunk, self.encoder.video, renditions, self.encoder.preset)
        try:
            said = self.launcher.run(argv, what=what, timeout_s=self.timeout_s, limits=limits)
        except FFmpegError as error:
            said, failure = error.stderr_tail, error
        # Nothing is wrong with the chunk then, and no picture may be given up for it. What is written when a file is
        # closed decides nothing about FFmpeg's exit status: a torn result may come with a 0.
        for number in (errno.ENOSPC, errno.EDQUOT):
            if os.strerror(number) in said:
                raise OSError(number, os.strerror(number), str(self.work)) from failure
        if failure is not None:
            raise failure
        return said


def _unique() -> str:
    return f"{os.getpid()}.{threading.get_ident()}"


def check_video(data: bytes, chunk: Chunk, what: str) -> None:
    """Verify that ``data`` holds the chunk's frames, shared out over its segments as planned.

    Raises:
        MediaError: it does not; the message has both counts.
    """
    init, fragments = split_file(data)
    summary = read_init(init)
    lengths = tuple(read_fragment(fragment, summary).sample_count for fragment in fragments)
    if lengths != chunk.segments:
        raise MediaError(
            f"{what}: {sum(lengths)} frames in segments of {list(lengths)} came out, "
            f"{chunk.frame_count} in segments of {list(chunk.segments)} were due"
        )


def wrap_audio(transcoder: Transcoder, chunk: Chunk, rendition: Rendition) -> Path:
    """Put the chunk's AAC frames, encoded when they were received, into CMAF fragments; the path of the result.

    Raises:
        MediaError: the chunk's audio file does not hold the frames that its journal promises.
    """
    try:
        frames = read_adts(Path(chunk.audio_path).read_bytes()) if chunk.audio_path else []
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EIO):
            raise
        raise MediaError(f"chunk {chunk.number} audio: its file cannot be read ({error.strerror})") from None
    if len(frames) != chunk.audio_count:
        raise MediaError(
            f"chunk {chunk.number} audio: {len(frames)} AAC frames are there, {chunk.audio_count} were due"
        )
    return put_audio(transcoder, chunk, rendition, frames)


def put_audio(transcoder: Transcoder, chunk: Chunk, rendition: Rendition, frames: Sequence[bytes]) -> Path:
    """Put ``frames``, as many as the chunk has, into CMAF fragments; the path of the result."""
    pieces = [aac_init(rendition.sample_rate, rendition.channels, rendition.max_bps)]
    for time_ticks, duration in chunk.boundaries(rendition):
        first = time_ticks // AAC_FRAME - chunk.audio_first
        inside = frames[first : first + duration // AAC_FRAME]
        pieces.append(aac_fragment(sequence=time_ticks // AAC_FRAME + 1, time=time_ticks, frames=inside))
    path = transcoder.result_path(chunk, rendition.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, b"".join(pieces))
    return path


@dataclass
class _Gathering:
    joined: dict[str, Rendition] = field(default_factory=dict)
    done: Future[None] = field(default_factory=Future)
    started: bool = False


class SharedDecode:
    """Lets the tasks of one chunk that run on this machine share one FFmpeg process, and so one decode.

    Whoever comes first waits until all ``expected`` have joined or ``JOIN_S`` has passed, runs the process for those
    who joined, and its outcome is everybody's. Who comes later, or comes again after a failure, runs alone.
    """

    def __init__(self) -> None:
        self._gatherings: dict[tuple[str, int], _Gathering] = {}
        self._changed = threading.Condition()

    def encode(
        self, transcoder: Transcoder, chunk: Chunk, rendition: Rendition, expected: int, *, alone: bool = False
    ) -> None:
        """Have ``rendition`` of ``chunk`` encoded; ``alone`` for a retry. Raises what ``Transcoder.encode`` raises."""
        if alone or expected <= 1:
            transcoder.encode(chunk, [rendition])
            return
        key = (str(transcoder.work), chunk.number)
        with self._changed:
            gathering = self._gatherings.get(key)
            if gathering is None:
                leader = True
                gathering = self._gatherings[key] = _Gathering()
            else:
                leader = False
            late = gathering.started
            if not late:
                gathering.joined[rendition.name] = rendition
                self._changed.notify_all()
        if late:
            transcoder.encode(chunk, [rendition])
        elif leader:
            self._lead(transcoder, chunk, key, gathering, expected)
        else:
            gathering.done.result()

    def _lead(
        self, transcoder: Transcoder, chunk: Chunk, key: tuple[str, int], gathering: _Gathering, expected: int
    ) -> None:
        end = time.monotonic() + JOIN_S
        with self._changed:
            self._changed.wait_for(lambda: len(gathering.joined) >= expected, end - time.monotonic())
            gathering.started = True
            # In the ladder's order, whoever came first: the same command line every time.
            together = sorted(gathering.joined.values(), key=lambda r: (-r.width * r.height, r.name))
        try:
            transcoder.encode(chunk, together)
            gathering.done.set_result(None)
        except BaseException as error:
            gathering.done.set_exception(error)
            raise
        finally:
            with self._changed:
                self._gatherings.pop(key, None)
