"""Live sources without timestamps, from a web server that sends them in real time: they live by the clock of their arrival."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import pytest

from streamwave.ffmpeg.probe import probe
from streamwave.receive.quick_probe import look
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.options import Options
from streamwave.timing import AAC_FRAME
from tests.support.media import ffmpeg, make_clip
from tests.support.paced import Piece, paced
from tests.support.segmented import Spool, contiguous, read
from tests.support.sources import SIZE

F = Fraction
#: Not what libavformat supposes where nothing is said (25), nor what the files below say.
RATE, SECONDS = F(10), 8
COUNT = int(RATE * SECONDS)
#: When the pictures of a camera come that makes one every 40 to 400 ms, and stands still for 2 s.
STEPS_MS = (40, 400, 120, 80, 300, 40, 250, 2000, 90, 160)
VARYING = tuple(F(sum(STEPS_MS[n % 10] for n in range(count)), 1000) for count in range(20))
X265 = ("-c:v", "libx265", "-x265-params", "log-level=0:keyint=25:min-keyint=25:scenecut=0:open-gop=0")


@dataclass(frozen=True)
class Source:
    """What a server sends, as what, when (nothing: one piece after the other), and how long it says that all of it is."""

    pieces: list[bytes]
    kind: str = "application/octet-stream"
    times: tuple[Fraction, ...] = ()
    length: int | None = None
    live: bool = True

    def paced(self) -> list[Piece]:
        times = self.times or tuple(n / RATE for n in range(len(self.pieces)))
        return list(zip(times, self.pieces, strict=True))


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def pictures(folder: Path, codec: str, *options: str) -> list[bytes]:
    """The coded pictures of a clip, one by one, as a file of its own."""
    clip = make_clip(folder / f"{codec}.mkv", frames=COUNT, size=SIZE, audio=False, options=("-c:v", codec, *options))
    return packets(clip.path)


def stream(folder: Path, name: str, *options: str) -> list[bytes]:
    """A raw stream, cut where its pictures begin. Where it states a rate that is 25."""
    clip = make_clip(folder / name, frames=COUNT, gop=25, size=SIZE, audio=False, options=options)
    data = clip.path.read_bytes()
    with av.open(str(clip.path)) as container:
        cuts = [packet.pos for packet in container.demux(video=0) if packet.size and packet.pos is not None]
    cuts = [0, *cuts[1:], len(data)]
    return [data[first:after] for first, after in zip(cuts, cuts[1:], strict=False)]


def parts(jpegs: list[bytes], boundary: str, *, length: bool = True, line: bytes = b"\r\n") -> list[bytes]:
    """Parts of a multipart answer (RFC 2046, 5.1.1); ``boundary`` with the dashes that are in front of it."""
    found = []
    for jpeg in jpegs:
        head = [
            boundary.encode(),
            b"Content-Type: image/jpeg",
            *([b"Content-Length: %d" % len(jpeg)] if length else []),
        ]
        found.append(line.join([*head, b"", jpeg]) + line)
    return found


def sound(path: Path, *options: str) -> Source:
    """Three seconds of sound, of which the first comes at once."""
    data = make_clip(path, frames=75, video=False, options=options).path.read_bytes()
    step = len(data) // 30
    cuts = [0, *range(10 * step, 30 * step, step), len(data)]
    pieces = [data[first:after] for first, after in zip(cuts, cuts[1:], strict=False)]
    return Source(pieces)


def mixed(boundary: str) -> str:
    return f"multipart/x-mixed-replace; boundary={boundary}"


def sources(folder: Path) -> dict[str, Source]:
    jpegs = pictures(folder, "mjpeg", "-bf", "0", "-pix_fmt", "yuvj420p")
    usual = parts(jpegs, "--frame")
    steady = [n / RATE for n in range(COUNT)]
    ffmpeg("-i", str(folder / "mjpeg.mkv"), "-pix_fmt", "yuv420p", str(folder / "a.y4m"))
    whole = (folder / "a.y4m").read_bytes()
    head = whole.index(b"\n") + 1
    size = (len(whole) - head) // COUNT
    raw = [whole[at : at + size] for at in range(head, len(whole), size)]
    return {
        "parts": Source(usual, mixed("frame")),
        "parts without their length": Source(parts(jpegs, "--frame", length=False), mixed('"frame"')),
        "a boundary that names its dashes": Source(usual, mixed("--frame")),
        "a boundary without dashes": Source(parts(jpegs, "frame"), mixed("frame")),
        "a boundary without dashes, parts without their length": Source(
            parts(jpegs, "frame", length=False), mixed("frame")
        ),
        "lines that end with LF alone": Source(parts(jpegs, "--frame", line=b"\n"), mixed("frame")),
        "an empty line first": Source([b"\r\n" + usual[0], *usual[1:]], mixed("frame")),
        "a length that is made up": Source(usual, mixed("frame"), length=2**31),
        "a camera that is transcoded as a file": Source(usual, mixed("frame"), live=False),
        "a kind that is wrong": Source(usual, "image/jpeg"),
        "a network that stands still for 3 s": Source(
            usual, mixed("frame"), tuple(max(at, F(5)) if at >= 2 else at for at in steady)
        ),
        "what was kept comes first": Source(usual, mixed("frame"), tuple(max(F(0), at - 2) for at in steady)),
        "a rate that varies": Source(usual[: len(VARYING)], mixed("frame"), VARYING),
        "aac": sound(folder / "a.aac", "-f", "adts"),
        "mp3": sound(folder / "a.mp3", "-c:a", "libmp3lame"),
        "JPEG without parts": Source(jpegs),
        "H.264": Source(stream(folder, "a.h264", "-bf", "0")),
        "H.264 with B-frames": Source(stream(folder, "b.h264", "-bf", "2")),
        "H.265": Source(stream(folder, "a.hevc", *X265, "-bf", "0")),
        "MPEG-2": Source(stream(folder, "a.m2v", "-c:v", "mpeg2video", "-bf", "0")),
        "uncompressed": Source([whole[:head] + raw[0], *raw[1:]]),
        "PNG": Source(pictures(folder, "png", "-bf", "0")),
    }


@dataclass(frozen=True)
class Received:
    """What came of a source, and for how long its server sent, the last picture included, in seconds."""

    spool: Spool
    sent_s: float

    @property
    def lasts_s(self) -> float:
        return self.spool.chunks[-1].next_ms / 1000


def receive(source: Source, folder: Path) -> Received:
    sent_s: list[list[float]] = []
    with paced(source.paced(), kind=source.kind, length=source.length, sent_s=sent_s) as address:
        Segmenter(Options(source=address, spool=folder, live=source.live, segment_ms=1000)).run()
    return Received(read(folder), sent_s[-1][-1] - sent_s[-1][0] + float(1 / RATE))


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Received]]:
    """All of them at once, because each takes as long as it is."""
    folder = tmp_path_factory.mktemp("untimed")
    known = sources(folder)
    with ThreadPoolExecutor(len(known)) as pool:
        spools = {
            name: pool.submit(receive, source, folder / f"spool-{n}") for n, (name, source) in enumerate(known.items())
        }
        yield {name: spool.result() for name, spool in spools.items()}


@pytest.mark.parametrize("name", [
    "parts", "parts without their length", "a boundary that names its dashes", "a boundary without dashes",
    "a boundary without dashes, parts without their length", "lines that end with LF alone", "an empty line first",
    "a length that is made up", "a camera that is transcoded as a file", "a kind that is wrong",
    "JPEG without parts", "H.264", "H.264 with B-frames", "H.265",
    "MPEG-2", "uncompressed", "PNG", "a network that stands still for 3 s", "what was kept comes first",
])  # fmt: skip
def test_eight_seconds_are_eight_seconds(received: dict[str, Received], name: str) -> None:
    spool = received[name].spool
    assert spool.end is not None and spool.end.error is None, spool.end
    contiguous(spool)
    assert sum(spool.pictures(), []) == list(range(COUNT))
    before_s = 2 if name == "what was kept comes first" else 0  # it was made before it was sent
    # To one picture, and another one for a machine that is busy; ``test_arrival`` is exact.
    assert received[name].lasts_s == pytest.approx(received[name].sent_s + before_s, abs=float(2 / RATE))


def test_a_camera_whose_rate_varies_and_that_stands_still(received: dict[str, Received]) -> None:
    spool = received["a rate that varies"].spool
    contiguous(spool)
    starts = [chunk.start_ms for chunk in spool.chunks]
    assert starts == sorted(set(starts)) and sum(chunk.pictures for chunk in spool.chunks) == len(VARYING)
    assert received["a rate that varies"].lasts_s == pytest.approx(received["a rate that varies"].sent_s, abs=0.4)


@pytest.mark.parametrize("kind", ["aac", "mp3"])
def test_sound_keeps_its_own_clock(received: dict[str, Received], kind: str) -> None:
    """It is counted in samples, however it comes: here, the first second at once and the rest 100 ms at a time."""
    spool = received[kind].spool
    contiguous(spool)
    assert spool.end is not None and spool.end.error is None
    assert len(spool.sound()) == pytest.approx(3 * 48000 / AAC_FRAME, abs=3)


def test_no_rate_is_told_that_is_made_up(tmp_path: Path) -> None:
    source = Source(
        parts(pictures(tmp_path, "mjpeg", "-bf", "0", "-pix_fmt", "yuvj420p"), "--frame")[:20], mixed("frame")
    )
    with paced([(F(0), b"".join(source.pieces))], kind=source.kind) as address:
        video = probe(address).video
        assert video is not None and (video.codec, video.width, video.stated_rate) == ("mjpeg", 160, None)
        assert look(address, ()) == []
