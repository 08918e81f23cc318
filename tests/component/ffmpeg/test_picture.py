"""What came out is decoded and measured: the right way up, without comb, and of the right colours."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from streamwave.errors import SourceError
from streamwave.ffmpeg.commands import EncoderSettings
from streamwave.ffmpeg.examine import examine_file
from streamwave.ffmpeg.locate import FFmpegBinary, has_zimg, locate
from streamwave.ffmpeg.picture import complete, output_colour
from streamwave.ffmpeg.probe import check_decodable, probe
from streamwave.ffmpeg.process import Launcher
from streamwave.ffmpeg.transcode import Transcoder
from streamwave.model import Chunk, Colour, Rendition, SourceInfo, VideoInfo
from streamwave.mp4 import split_file, video_init
from streamwave.pipeline.ladder import DEFAULT_LADDER, display_size, plan
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.options import Options
from tests.support.media import ffmpeg, ffmpeg_path, make_clip

RATE = Fraction(25)
Planes = list[NDArray[np.uint8]]

#: Red and blue light's share of luma (ITU-T H.273, table 4), by code point.
SHARES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
BARS = [
    (191, 191, 191),
    (191, 191, 0),
    (0, 191, 191),
    (0, 191, 0),
    (191, 0, 191),
    (191, 0, 0),
    (0, 0, 191),
    (20, 20, 20),
]


def transcoded(
    tmp_path: Path,
    source: Path,
    size: tuple[int, int],
    frames: int,
    *,
    number: int = 0,
    first: int = 0,
    **settings: Any,
) -> bytes:
    """The file that a chunk becomes in one rendition; its treatment follows from the probe unless ``video`` is given."""
    settings.setdefault("video", probe(f"file:{source}").video)
    rendition = Rendition(name="x", kind="video", width=size[0], height=size[1], max_bps=20_000_000)
    chunk = Chunk(
        number=number, rate=RATE, first_frame=first, frame_count=frames, segments=(frames,),
        video_path=str(source), audio_path=None,
    )  # fmt: skip
    encoder = EncoderSettings("ultrafast", crf=4, **settings)
    transcoder = Transcoder(ffmpeg_path(), encoder, Launcher(2), tmp_path / "work", 60)
    transcoder.encode(chunk, [rendition])
    data = transcoder.result_path(chunk, "x").read_bytes()
    transcoder.put_filler(chunk, rendition)
    # As it is published: with an init segment that does not depend on the pictures.
    init, fragments = split_file(data)
    init = video_init(init)
    stand_in = split_file(transcoder.result_path(chunk, "x").read_bytes())[0]
    assert video_init(stand_in) == init
    return b"".join([init, *fragments])


def decoded(path: Path, data: bytes) -> list[Any]:
    path.write_bytes(data)
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
    assert pictures and all(picture.format.name == "yuv420p" for picture in pictures)
    assert {picture.color_range for picture in pictures} == {1}
    return pictures


def luma(picture: Any) -> NDArray[np.float64]:
    return planes(picture)[0]


def planes(picture: Any) -> list[NDArray[np.float64]]:
    return [
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].astype(np.float64)
        for plane in picture.planes
    ]


def shown(picture: Any, column: int, columns: int) -> tuple[float, float, float]:
    """Red, green and blue, 0 to 255, of the middle of a column, as a player shows it that heeds the tags."""
    y, u, v = (
        float(p[p.shape[0] // 4 : -(p.shape[0] // 4), int(p.shape[1] * (column + 0.3) / columns) :][
            :, : max(1, int(p.shape[1] * 0.4 / columns))
        ].mean())
        for p in planes(picture)
    )  # fmt: skip
    kr, kb = SHARES[picture.colorspace]
    y, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    r, b = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    return (255 * r, 255 * (y - kr * r - kb * b) / (1 - kr - kb), 255 * b)


def lossless(path: Path, data: bytes, size: str, pixels: str, *output: str, rate: int = 25) -> Path:
    ffmpeg(
        *("-f", "rawvideo", "-pix_fmt", pixels, "-s", size, "-r", str(rate), "-i", "pipe:0", "-c:v", "ffv1"),
        *output,
        str(path),
        data=data,
    )
    return path


# --- the right way up -------------------------------------------------------------------------------------------------


def turned(path: Path, degrees: int) -> Path:
    """Write the matrix of a turn clockwise into an MP4 file's track header (ISO/IEC 14496-12, 8.3.2)."""
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    for place, value in ((0, cos), (4, sin), (12, -sin), (16, cos)):
        data[at + place : at + place + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    return path


def corners(picture: NDArray[np.float64]) -> list[int]:
    """Brightness of the four quarters, clockwise from the upper left, in steps of 50."""
    height, width = picture.shape
    high, wide = height // 4, width // 4
    return [
        round(float(picture[y - 4 : y + 4, x - 4 : x + 4].mean()) / 50)
        for y, x in ((high, wide), (high, 3 * wide), (3 * high, 3 * wide), (3 * high, wide))
    ]


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_turned_once_and_as_its_mark_says(tmp_path: Path, degrees: int) -> None:
    picture = np.zeros((64, 128), np.uint8)
    picture[:32, :64], picture[:32, 64:], picture[32:, 64:], picture[32:, :64] = 50, 100, 150, 200
    raw = (picture.tobytes() + bytes([128]) * 4096) * 10
    path = tmp_path / "a.mp4"
    ffmpeg(
        *("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "128x64", "-r", "25", "-i", "pipe:0"),
        *("-c:v", "libx264", "-qp", "2", str(path)), data=raw,
    )  # fmt: skip
    turned(path, degrees)
    info = probe(f"file:{path}")
    assert info.video is not None and info.video.rotation == degrees
    (rendition,) = plan(info, DEFAULT_LADDER)
    size = (rendition.width, rendition.height)
    assert size == ((64, 128) if degrees in (90, 270) else (128, 64))

    spool = tmp_path / "spool"
    spool.mkdir()
    Segmenter(Options(source=f"file:{path}", spool=spool)).run()
    chunk = next(spool.glob("*.mkv"))
    pictures = decoded(tmp_path / "out.mp4", transcoded(tmp_path, chunk, size, 10, video=info.video))
    expected = np.roll([1, 2, 3, 4], degrees // 90).tolist()  # clockwise
    assert [corners(luma(p)) for p in pictures] == [expected] * 10
    assert {p.rotation for p in pictures} == {0}
    # Another decoder that heeds the mark sees the source likewise.
    reference = tmp_path / "reference.mkv"
    ffmpeg("-i", str(path), "-frames:v", "1", "-c:v", "ffv1", str(reference))
    with av.open(str(reference)) as container:
        assert corners(luma(next(container.decode(video=0)))) == expected


ONE = 1 << 16
#: Display matrices (a, b, c, d of ISO/IEC 14496-12, 8.3.2): all eight orientations, and others.
MATRICES = {
    "upright": (ONE, 0, 0, ONE),
    "turned by 90": (0, ONE, -ONE, 0),
    "turned by 180": (-ONE, 0, 0, -ONE),
    "turned by 270": (0, -ONE, ONE, 0),
    "mirrored": (-ONE, 0, 0, ONE),
    "upside down and mirrored": (ONE, 0, 0, -ONE),
    "transposed": (0, ONE, ONE, 0),
    "transposed the other way": (0, -ONE, -ONE, 0),
    "turned by 45": (46341, 46341, -46341, 46341),
    "twice as large": (2 * ONE, 0, 0, 2 * ONE),
    "turned by 90, of half the size": (0, ONE // 2, -ONE // 2, 0),
    "nothing at all": (0, 0, 0, 0),
}


@pytest.mark.parametrize("name", MATRICES)
def test_pictures_are_shown_as_ffmpeg_shows_them(tmp_path: Path, name: str) -> None:
    path, size = tmp_path / "a.mp4", (128, 64)
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x64:r=25:d=0.2", "-c:v", "libx264", "-qp", "2", str(path))
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    a, b, c, d = MATRICES[name]
    data[at : at + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    path.write_bytes(data)
    reference = tmp_path / "reference.mkv"
    ffmpeg("-i", str(path), "-pix_fmt", "yuv420p", "-c:v", "ffv1", str(reference))
    with av.open(str(reference)) as container:
        due = [luma(picture) for picture in container.decode(video=0)]
    info = probe(f"file:{path}")
    assert info.video is not None
    (rendition,) = plan(info, DEFAULT_LADDER)
    size = (rendition.width, rendition.height)
    assert size == due[0].shape[::-1]
    # As a file that is transcoded, and as what the segmenter received.
    spool = tmp_path / "spool"
    spool.mkdir()
    Segmenter(Options(source=f"file:{path}", spool=spool)).run()
    chunk = next(spool.glob("*.mkv"))
    assert examine_file(chunk, info, 10**6).video == info.video
    pictures = decoded(tmp_path / "out.mp4", transcoded(tmp_path, chunk, size, 5, video=info.video))
    assert len(due) == len(pictures) == 5
    for picture, wanted in zip(pictures, due, strict=True):
        assert np.abs(luma(picture) - wanted).mean() < 3


#: EXIF's orientations: left and right exchanged, and the turn after that.
ORIENTATIONS = {
    1: (False, 0), 2: (True, 0), 3: (False, 180), 4: (True, 180),
    5: (True, 270), 6: (False, 90), 7: (True, 90), 8: (False, 270),
}  # fmt: skip


def with_exif(picture: bytes, orientation: int) -> bytes:
    """A JPEG file with the one tag that says how it is to be shown (EXIF 2.3, 4.6.4)."""
    tags = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x112, 3, 1, orientation, 0) + bytes(4)
    segment = b"Exif\0\0" + tags
    return picture[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + picture[2:]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_photographs_are_shown_as_exif_says(tmp_path: Path, orientation: int) -> None:
    """Also in a film of them, where each has side data that PyAV has no name for."""
    plain = tmp_path / "plain.jpg"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x64:d=0.04", "-frames:v", "1", str(plain))
    photograph, film = tmp_path / "photograph.jpg", tmp_path / "film.avi"
    photograph.write_bytes(with_exif(plain.read_bytes(), orientation))
    ffmpeg("-r", "25", "-f", "image2pipe", "-i", "pipe:0", "-c", "copy", str(film), data=photograph.read_bytes() * 3)
    for path in (photograph, film):
        video = probe(f"file:{path}").video
        assert video is not None and (video.mirrored, video.rotation) == ORIENTATIONS[orientation]
    reference = tmp_path / "reference.png"
    ffmpeg("-i", str(photograph), str(reference))
    due, found = probe(f"file:{reference}"), probe(f"file:{photograph}")
    assert due.video is not None and found.video is not None
    assert display_size(found.video) == (due.video.width, due.video.height)


@pytest.mark.parametrize(("size", "sar"), [("90x72", "64/45"), ("85x47", "1"), ("48x160", "1")])
def test_pixels_become_square_whatever_the_size(tmp_path: Path, size: str, sar: str) -> None:
    """A circle stays one, up to the even number that its rectangle is rounded to."""
    path = tmp_path / "a.mkv"
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d=0.2,setsar={sar}", "-c:v", "libx264", str(path))
    info = probe(f"file:{path}")
    (rendition,) = plan(info, DEFAULT_LADDER)
    width, height = map(int, size.split("x"))
    assert abs(rendition.width - width * Fraction(sar)) <= 1 and abs(rendition.height - height) <= 1
    data = transcoded(tmp_path, path, (rendition.width, rendition.height), 5)
    pictures = decoded(tmp_path / "out.mp4", data)
    assert [(p.width, p.height) for p in pictures] == [(rendition.width, rendition.height)] * 5
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert (container.streams.video[0].sample_aspect_ratio or 1) == 1


# --- fields -----------------------------------------------------------------------------------------------------------


def comb(picture: NDArray[np.float64]) -> float:
    """How much neighbouring lines differ beyond what lines of the same field do."""
    return float(np.abs(picture[1:-1] - (picture[:-2] + picture[2:]) / 2).mean())


def test_fields_become_pictures_without_a_comb_not_even_at_a_seam(tmp_path: Path) -> None:
    width, height, count = 128, 96, 20
    across = np.arange(width)
    fields = [np.where((across - 5 * n) % 64 < 24, 220, 40).astype(np.uint8) for n in range(2 * count)]
    raw = bytearray()
    for n in range(count):
        picture = np.empty((height, width), np.uint8)
        picture[0::2], picture[1::2] = fields[2 * n], fields[2 * n + 1]
        raw += picture.tobytes() + bytes([128]) * (width * height // 2)
    path = tmp_path / "a.mkv"
    ffmpeg(
        *("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", "25", "-i", "pipe:0"),
        *("-vf", "setfield=tff", "-c:v", "libx264", "-qp", "4", "-flags", "+ildct+ilme", "-x264-params", "tff=1"),
        *("-g", "10", "-sc_threshold", "0", "-flags", "+cgop+ildct+ilme", str(path)), data=bytes(raw),
    )  # fmt: skip
    video = probe(f"file:{path}").video
    assert video is not None and video.interlaced
    with av.open(str(path)) as container:
        assert min(comb(luma(p)) for p in container.decode(video=0)) > 10

    spool = tmp_path / "spool"
    spool.mkdir()
    Segmenter(Options(source=f"file:{path}", spool=spool, segment_ms=400)).run()
    chunks = sorted(spool.glob("*.mkv"))
    assert len(chunks) == 2
    for number, chunk in enumerate(chunks):
        data = transcoded(tmp_path, chunk, (width, height), 10, number=number, first=10 * number, video=video)
        pictures = [luma(p) for p in decoded(tmp_path / "out.mp4", data)]
        assert len(pictures) == 10
        for place, single in enumerate(pictures):
            assert comb(single) < 2, (number, place)
            # It is the first of its two fields, and no other, that is shown.
            wanted = fields[2 * (10 * number + place)].astype(np.float64)
            assert np.abs(single[2:-2] - wanted).mean() < 6, (number, place)


def test_progressive_pictures_are_left_alone(tmp_path: Path) -> None:
    """Lines that alternate look like fields, and are none."""
    picture = np.where(np.arange(64)[:, None] % 2, 60, 180).astype(np.uint8) * np.ones((1, 64), np.uint8)
    path = lossless(tmp_path / "a.mkv", (picture.tobytes() + bytes([128]) * 2048) * 5, "64x64", "yuv420p")
    (first, *_) = decoded(tmp_path / "out.mp4", transcoded(tmp_path, path, (64, 64), 5))
    assert comb(luma(first)) > 100
    video = probe(f"file:{path}").video
    assert video is not None and not video.interlaced


# --- colours ----------------------------------------------------------------------------------------------------------


# Set on the pictures: later FFmpegs convert where tags are asked for at the output.
UNSAID = "color_primaries=unknown:color_trc=unknown:colorspace=unknown"
TAGS_709 = "color_primaries=bt709:color_trc=bt709:colorspace=bt709"
TAGS_601 = "color_primaries=smpte170m:color_trc=smpte170m:colorspace=smpte170m"
TAGS_2020 = "color_primaries=bt2020:color_trc=bt2020-10:colorspace=bt2020nc:range=tv"


def bars(tmp_path: Path, pixels: str, matrix: str, full: bool, tags: str = UNSAID, *, size: str = "256x64") -> Path:
    """Eight bars, encoded in ``pixels`` with ``matrix`` (of swscale), with the tags that are given."""
    width, height = map(int, size.split("x"))
    row = np.repeat(np.array(BARS, np.uint8), width // 8, axis=0)
    raw = np.broadcast_to(row, (height, width, 3)).tobytes() * 3
    scale = f"scale=out_color_matrix={matrix}:out_range={'pc' if full else 'tv'}:flags=accurate_rnd+full_chroma_int"
    chain = f"{scale},format={pixels},setparams={tags}"
    return lossless(tmp_path / "a.mkv", raw, size, "rgb24", "-vf", chain, "-pix_fmt", pixels)


@pytest.mark.parametrize(
    ("pixels", "matrix", "full", "tags", "size", "code"),
    [
        ("yuv420p", "bt709", False, TAGS_709 + ":range=tv", "256x64", 1),
        ("yuv420p", "bt709", True, TAGS_709 + ":range=pc", "256x64", 1),
        ("yuv422p", "bt709", False, TAGS_709, "256x64", 1),
        ("yuv444p", "smpte170m", False, TAGS_601, "256x64", 6),
        ("yuv422p10le", "bt709", False, TAGS_709, "256x64", 1),
        ("yuv420p10le", "smpte170m", True, TAGS_601 + ":range=pc", "256x64", 6),
        ("gbrp", "bt709", True, "range=pc", "1280x64", 1),
        # Nothing said: by size.
        ("yuv420p", "smpte170m", False, UNSAID, "256x64", 6),
        ("yuv420p", "smpte170m", False, UNSAID, "768x576", 5),
        ("yuv420p", "bt709", False, UNSAID, "1280x720", 1),
    ],
)
def test_bars_keep_their_colours(
    tmp_path: Path, pixels: str, matrix: str, full: bool, tags: str, size: str, code: int
) -> None:
    source = bars(tmp_path, pixels, matrix, full, tags, size=size)
    video = probe(f"file:{source}").video
    assert video is not None and video.pixel_format == {"gbrp": "bgr0"}.get(pixels, pixels)
    assert video.colour.full_range == full or pixels == "gbrp"
    for picture in decoded(tmp_path / "out.mp4", transcoded(tmp_path, source, (256, 64), 3)):
        assert (picture.colorspace, picture.color_primaries) == (code, code)
        for column, colour in enumerate(BARS):
            assert shown(picture, column, 8) == pytest.approx(colour, abs=5), column


def test_a_rendition_of_another_size_has_the_colours_of_the_source(tmp_path: Path) -> None:
    """A player that guesses by size would show a small rendition of a large source wrongly, were it not told."""
    source = bars(tmp_path, "yuv420p", "bt709", False, size="1280x720")
    (picture, *_) = decoded(tmp_path / "out.mp4", transcoded(tmp_path, source, (160, 90), 3))
    assert picture.colorspace == picture.color_trc == picture.color_primaries == 1


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (Colour(primaries="bt709"), ("bt709", "bt709", "bt709")),
        (Colour(matrix="bt470bg"), ("bt470bg", "smpte170m", "bt470bg")),
        (Colour(transfer="iec61966-2-1"), ("smpte170m", "iec61966-2-1", "smpte170m")),
        (Colour(transfer="smpte2084"), ("bt2020", "smpte2084", "bt2020nc")),
    ],
)
def test_what_is_said_decides_what_is_not(told: Colour, expected: tuple[str, str, str]) -> None:
    found = complete(VideoInfo(codec="h264", width=640, height=360, colour=told))
    assert (found.primaries, found.transfer, found.matrix) == expected
    assert not output_colour(VideoInfo(codec="h264", width=8, height=8, colour=Colour(full_range=True))).full_range


# --- high dynamic range -----------------------------------------------------------------------------------------------

WHITE = 203.0
#: Grey and colours in light of BT.709, as multiples of diffuse white.
LIGHTS = [(0.0, 0.0, 0.0), (0.05, 0.05, 0.05), (0.18, 0.18, 0.18), (1.0, 1.0, 1.0), (0.25, 0.02, 0.02),
          (0.02, 0.25, 0.02), (0.02, 0.02, 0.25), (4.9, 4.9, 4.9)]  # fmt: skip


def pq(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084: light to code, 0 to 1."""
    powered = np.power(nits / 10_000, 0.1593017578125)
    coded: NDArray[np.float64] = np.power((0.8359375 + 18.8515625 * powered) / (1 + 18.6875 * powered), 78.84375)
    return coded


def hlg(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """ITU-R BT.2100: light of a display of 1000 cd/m² to code; ``nits`` has a row per colour."""
    luminance = nits @ np.array([0.2627, 0.678, 0.0593]) / 1000
    scene = nits / 1000 * np.power(np.maximum(luminance, 1e-9), 1 / 1.2 - 1)[:, None]
    return np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    )


def hdr(tmp_path: Path, transfer: str) -> Path:
    """Columns of ``LIGHTS``, in 10 bits of BT.2020."""
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.088, 0.8956]])
    nits = np.array(LIGHTS) @ to_2020.T * WHITE
    r, g, b = (pq if transfer == "smpte2084" else hlg)(nits).T
    y = 0.2627 * r + 0.678 * g + 0.0593 * b
    coded = np.stack([64 + 876 * y, 512 + 896 * (b - y) / 1.8814, 512 + 896 * (r - y) / 1.4746]).round().astype("<u2")
    raw = b"".join(np.broadcast_to(np.repeat(plane, 32), (64, 256)).tobytes() for plane in coded) * 3
    tags = f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc:range=tv"
    return lossless(tmp_path / "a.mkv", raw, "256x64", "yuv444p10le", "-vf", tags)


def test_this_ffmpeg_has_zimg() -> None:
    assert has_zimg(ffmpeg_path()) and not has_zimg("/bin/true")


@pytest.mark.parametrize("zimg", [True, False])
@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_becomes_sdr_of_the_same_brightness(tmp_path: Path, transfer: str, zimg: bool) -> None:
    source = hdr(tmp_path, transfer)
    (picture, *_) = decoded(tmp_path / "out.mp4", transcoded(tmp_path, source, (256, 64), 3, zimg=zimg))
    assert picture.colorspace == picture.color_trc == picture.color_primaries == 1
    found = [shown(picture, column, 8) for column in range(8)]
    # HLG's system gamma is of the luminance, which both ways take to be of each colour.
    # Up to the knee light is what it was: that which a display makes of the code (ITU-R BT.1886).
    exact = (0, 1, 2, 4, 5, 6) if transfer == "smpte2084" else (0, 1, 2)
    for column in exact:
        light = np.array(LIGHTS[column])
        wanted = light ** (1 / 2.4) * 255
        assert found[column] == pytest.approx(wanted.tolist(), abs=12), column
    # Above it, it is rolled off: diffuse white leaves room for what is brighter, and that is as bright as can be.
    assert 190 < found[3][1] < 235 and 245 < found[7][1] < 262
    for column, strongest in ((4, 0), (5, 1), (6, 2)):
        assert max(range(3), key=lambda n: found[column][n]) == strongest


def test_wide_colours_without_hdr_become_those_of_bt709(tmp_path: Path) -> None:
    source = bars(tmp_path, "yuv420p", "bt2020", False, TAGS_2020)
    (picture, *_) = decoded(tmp_path / "out.mp4", transcoded(tmp_path, source, (256, 64), 3))
    assert picture.colorspace == picture.color_primaries == 1
    assert shown(picture, 0, 8) == pytest.approx(BARS[0], abs=4)  # grey is grey everywhere
    # The green of BT.2020 is outside of BT.709: as much as there is, and nothing of the others.
    red, green, blue = shown(picture, 3, 8)
    assert green > 191 and red < 12 and blue < 25


def test_the_peak_comes_from_the_source(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    mastering = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(40000000,50)"
    options = f"log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:{mastering}"
    source = ("-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=0.2", "-pix_fmt", "yuv420p10le", "-c:v", "libx265")
    ffmpeg(*source, "-x265-params", options, str(path))
    video = probe(f"file:{path}").video
    assert video is not None and video.peak_nits == 4000
    ffmpeg(*source, "-x265-params", options + ":max-cll=1500,400", str(path))
    video = probe(f"file:{path}").video
    assert video is not None and video.peak_nits == 1500
    assert decoded(tmp_path / "out.mp4", transcoded(tmp_path, path, (64, 64), 5))


# --- codecs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "suffix", "options"),
    [
        ("h264", "mp4", ("libx264", "-bf", "3", "-b-pyramid", "normal")),
        ("hevc", "mp4", ("libx265", "-preset", "ultrafast", "-x265-params", "open-gop=0:log-level=none")),
        ("av1", "mkv", ("libsvtav1", "-preset", "12")),
        ("vp9", "mkv", ("libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")),
        ("mpeg2video", "ts", ("mpeg2video", "-bf", "2", "-q:v", "3", "-flags", "+cgop", "-sc_threshold", "1000000000")),
        ("prores", "mov", ("prores_ks", "-pix_fmt", "yuv422p10le")),
        ("mjpeg", "mov", ("mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p")),
    ],
)
def test_chunks_hold_the_pictures_of_the_source(
    tmp_path: Path, codec: str, suffix: str, options: tuple[str, ...]
) -> None:
    """Bit for bit, whatever codec they are in."""
    path = tmp_path / f"a.{suffix}"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x72:r=25:d=2", "-c:v", *options, "-g", "25", str(path))
    video = probe(f"file:{path}").video
    assert video is not None and video.codec == codec
    spool = tmp_path / "spool"
    spool.mkdir()
    Segmenter(Options(source=f"file:{path}", spool=spool, segment_ms=1000)).run()
    chunks = sorted(spool.glob("*.mkv"))
    assert len(chunks) >= 2
    whole = [planes(p)[0].tobytes() for p in _all(path)]
    assert len(whole) == 50 and len(set(whole)) == 50
    assert [planes(p)[0].tobytes() for chunk in chunks for p in _all(chunk)] == whole
    assert len(decoded(tmp_path / "out.mp4", transcoded(tmp_path, chunks[0], (128, 72), 25, video=video))) == 25


def _all(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def test_an_ffmpeg_that_lacks_the_decoder_is_named(tmp_path: Path) -> None:
    """What probes and what transcodes may be different builds."""
    poor = tmp_path / "ffmpeg"
    poor.write_text("#!/bin/sh\necho ' -------'\necho ' D.V.L. mpeg1video  MPEG-1'\necho ' .EV.L. h264  H.264'\n")
    poor.chmod(0o755)
    clip = make_clip(tmp_path / "a.mp4", RATE, 5, audio=False, size="64x64")
    info = probe(f"file:{clip.path}")
    check_decodable(info, locate())
    with pytest.raises(
        SourceError, match=r"a.mp4: FFmpeg 5.1 .* has no decoder for its video \(h264\); point FFMPEG_PATH"
    ):
        check_decodable(info, FFmpegBinary(str(poor), (5, 1), "FFMPEG_PATH"))
    check_decodable(SourceInfo(url="file:/a", container="mp3"), FFmpegBinary(str(poor), (5, 1), "FFMPEG_PATH"))
