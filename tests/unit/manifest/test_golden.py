"""All manifests of broadcasts of each kind, byte for byte, as they are in tests/golden/CASE.

``make golden`` writes what is there now; read the difference before it is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import pytest

from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import AnyLine, BroadcastLine, ChunkLine, EndLine, InfoLine, PeriodLine, TrackLine
from streamwave.manifest.memo import Memo
from streamwave.manifest.render import render_all
from streamwave.model import Rendition
from streamwave.storage.location import BaseUrl
from streamwave.storage.store import LocalStore
from streamwave.timing import AAC_FRAME, Grid
from tests.unit.manifest.samples import AUDIO, CREATED_MS, FULL, NTSC, SMALL, video

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
CODECS = {"720p": "avc1.64001f", "480p": "avc1.4d401f", "360p": "avc1.4d401e", "audio": "mp4a.40.2"}
MID = video("480p", 480, 1_400_000)
BYTES = {"720p": 500_000, "480p": 250_000, "360p": 100_000, "audio": 32_000}
Lines = list[AnyLine]


def begin(**given: object) -> BroadcastLine:
    return BroadcastLine(created_unix_ms=CREATED_MS, segment_ms=2000, fingerprint="f", **given)


def period(
    number: int, *renditions: Rendition, start: int = 0, rate: Fraction = NTSC, live: bool = True, **codecs: str
) -> PeriodLine:
    """A period with these ``renditions``, ``start`` seconds after the broadcast's start."""
    tracks = tuple(
        TrackLine(
            rendition=one, codecs=codecs.get(one.kind) or CODECS[one.name], init_sha256="", init_size=800,
            timescale=Grid(rate).timescale if one.kind == "video" else one.sample_rate,
            frame_rate=rate if one.kind == "video" else None,
        )
        for one in renditions
    )  # fmt: skip
    wall = CREATED_MS + start * 1000 if live else None
    return PeriodLine(
        name=f"p{number}",
        session=f"{number:06d}",
        first_chunk=0,
        start=Fraction(start),
        wall_unix_ms=wall,
        tracks=tracks,
    )


def chunks(of: PeriodLine, pictures: Sequence[int] = (60, 60, 30), captions: Sequence[int] = ()) -> Lines:
    """Chunks of so many ``pictures`` each, one segment each; pictures of those in ``captions`` carry some."""
    lines: Lines = []
    rate = next((Fraction(t.frame_rate) for t in of.tracks if t.frame_rate is not None), NTSC)
    at = heard = 0
    for number, count in enumerate(pictures):
        # As many AAC frames as begin before the pictures end.
        until = -(-(at + count) * 48_000 // (AAC_FRAME * rate))
        segments: dict[str, tuple[tuple[int, int, int], ...]] = {}
        for one in of.tracks:
            if one.rendition.kind == "audio":
                place = (heard * AAC_FRAME, int(until - heard) * AAC_FRAME)
            else:
                place = (at * Grid(rate).frame_ticks, count * Grid(rate).frame_ticks)
            segments[one.rendition.name] = ((*place, BYTES[one.rendition.name]),)
        lines.append(ChunkLine(number=number, segments=segments, captions=number in captions))
        at, heard = at + count, int(until)
    return lines


def a_file() -> Lines:
    said = {"title": "Tom & <Jerry>\x00", "encoder": "OBS", "size": "1280x720", "empty": "\x07"}
    one = period(0, FULL, SMALL, AUDIO, live=False)
    return [begin(info=said), one, *chunks(one), EndLine()]


def live() -> Lines:
    one = period(0, FULL, SMALL, AUDIO)
    return [begin(), InfoLine(info={"title": "Evening"}), one, *chunks(one)]


def ended() -> Lines:
    return [*live(), EndLine()]


def dvr_window() -> Lines:
    one = period(0, FULL, SMALL, AUDIO)
    return [begin(dvr_window_ms=4000), one, *chunks(one, [60] * 5)]


def ended_after_a_dvr_window() -> Lines:
    return [*dvr_window(), EndLine()]


def not_recorded() -> Lines:
    one, *rest = dvr_window()
    assert isinstance(one, BroadcastLine)
    return [one.model_copy(update={"keep": False}), *rest, EndLine()]


def reconnect() -> Lines:
    """The publisher comes back after 4 s, with other pictures."""
    one, two = period(0, FULL, SMALL, AUDIO), period(1, FULL, SMALL, AUDIO, start=9, rate=Fraction(25))
    return [begin(), one, *chunks(one), two, *chunks(two, [50, 50])]


def recorded_reconnect() -> Lines:
    return [*reconnect(), EndLine()]


def other_renditions() -> Lines:
    """The second period lacks the largest rendition and has one of its own, the third has no audio."""
    all_of_them = [
        period(0, FULL, SMALL, AUDIO),
        period(1, MID, SMALL, AUDIO, start=6),
        period(2, FULL, SMALL, start=12),
    ]
    return [begin(), *(line for one in all_of_them for line in (one, *chunks(one))), EndLine()]


def audio_only() -> Lines:
    one = period(0, AUDIO, live=False)
    return [begin(), one, *chunks(one), EndLine()]


def video_only() -> Lines:
    one = period(0, FULL, live=False)
    return [begin(), one, *chunks(one), EndLine()]


def captions() -> Lines:
    one = period(0, FULL, SMALL, AUDIO)
    return [begin(), one, *chunks(one, captions=[0, 1, 2])]


def captions_that_began_late() -> Lines:
    one = period(0, FULL, SMALL, AUDIO)
    return [begin(), one, *chunks(one, captions=[2]), EndLine()]


def passthrough() -> Lines:
    """The largest rendition is the publisher's own HEVC, whose keyframes come when they like."""
    one = period(0, FULL, SMALL, AUDIO, rate=Fraction(50), video="hvc1.1.6.L93.B0")
    return [begin(), one, *chunks(one, [120, 97, 250])]


def rare_keyframes() -> Lines:
    one = period(0, FULL, SMALL, AUDIO, rate=Fraction(25))
    return [begin(), one, *chunks(one, [208, 208])]


def portrait() -> Lines:
    tall = SMALL.model_copy(update={"width": 360, "height": 640})
    one = period(0, tall, AUDIO, live=False)
    return [begin(), one, *chunks(one), EndLine()]


CASES: list[Callable[[], Lines]] = [
    a_file, live, ended, dvr_window, ended_after_a_dvr_window, not_recorded, reconnect, recorded_reconnect,
    other_renditions, audio_only, video_only, captions, captions_that_began_late, passthrough, rare_keyframes, portrait,
]  # fmt: skip


def rendered(lines: Lines, folder: Path, base_urls: Sequence[BaseUrl] = (), after_ms: int = 1500) -> dict[str, bytes]:
    """All manifests ``after_ms`` after the end of what is listed, as a run that has begun anew writes them."""
    Ledger(LocalStore(folder)).append(*lines)
    ledger = Ledger.load(LocalStore(folder))
    assert ledger.timeline is not None
    now_ms = CREATED_MS + int(ledger.timeline.duration * 1000) + after_ms
    playlists, named = render_all(
        ledger, now_unix_ms=now_ms, utc_timing_url="/time?a&b", base_urls=base_urls, memo=Memo()
    )
    return {**playlists, **named}


def check(case: str, found: dict[str, bytes], write: bool) -> None:
    """``found`` is what the folder of ``case`` holds, file for file."""
    folder = GOLDEN / case
    if write:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for name, data in found.items():
            (folder / name).write_bytes(data)
    golden = {path.name: path.read_text("utf-8") for path in folder.iterdir()}
    assert {name: data.decode() for name, data in found.items()} == golden, "if it is meant: make golden"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_manifests(case: Callable[[], Lines], tmp_path: Path, write_golden: bool) -> None:
    found = rendered(case(), tmp_path / "one")
    check(case.__name__, found, write_golden)
    if b"publishTime" not in found["manifest.mpd"]:
        assert rendered(case(), tmp_path / "two", after_ms=99_000) == found, "what was no broadcast has no time"


def test_manifests_of_several_addresses(tmp_path: Path, write_golden: bool) -> None:
    bases = [BaseUrl("https://a.example/x", "cdn-a", weight=3), BaseUrl("https://b.example/", priority=2)]
    check("several_addresses", rendered(live(), tmp_path, bases), write_golden)


def test_every_folder_is_of_a_case() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {"several_addresses", *(case.__name__ for case in CASES)}
