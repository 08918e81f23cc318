"""The ledger gives back what was published, over any number of parts, and nothing that was not saved."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from streamwave.errors import DamagedError, OutputError
from streamwave.layout import ledger_name
from streamwave.manifest import parts as module
from streamwave.manifest.dash import render_mpd
from streamwave.manifest.hls import render_master
from streamwave.manifest.ledger import Ledger
from streamwave.manifest.lines import BroadcastLine, ChunkLine, EndLine, PeriodLine, TrackLine
from streamwave.model import Rendition
from streamwave.storage.store import LocalStore, Store, open_store

VIDEO = Rendition(name="360p", kind="video", width=640, height=360, max_bps=800_000)
AUDIO = Rendition(name="audio", kind="audio", max_bps=128_000)
HEADER = BroadcastLine(created_unix_ms=1_000, segment_ms=2000, fingerprint="f", info={"title": "ä"})


def period(name: str = "p0", session: str = "file", first_chunk: int = 0, start: Fraction = Fraction(0)) -> PeriodLine:
    tracks = (
        TrackLine(rendition=VIDEO, timescale=30000, codecs="avc1.64001f", init_sha256="a", init_size=700,
                  frame_rate=Fraction(30000, 1001)),
        TrackLine(rendition=AUDIO, timescale=48000, codecs="mp4a.40.2", init_sha256="b", init_size=600, frame_rate=None),
    )  # fmt: skip
    return PeriodLine(
        name=name, session=session, first_chunk=first_chunk, start=start, wall_unix_ms=None, tracks=tracks
    )


def chunk(number: int, first: int = 0) -> ChunkLine:
    place = number - first
    return ChunkLine(
        number=number,
        segments={"360p": ((place * 60060, 60060, 1000 + number),), "audio": ((place * 96256, 96256, 500),)},
    )


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return LocalStore(tmp_path / "out") if request.param == "local" else open_store(f"memory://{tmp_path.name}")


@pytest.mark.parametrize("chunks", [0, 1, 2, 3, 6, 7, 20])
def test_roundtrip_over_parts(store: Store, monkeypatch: pytest.MonkeyPatch, chunks: int) -> None:
    monkeypatch.setattr(module, "PART_CHUNKS", 3)
    ledger = Ledger.load(store)
    assert ledger.header is None and ledger.timeline is None
    ledger.append(HEADER, period())
    for number in range(chunks):
        ledger.append(chunk(number))
        again = Ledger.load(store)
        assert again.timeline == ledger.timeline and again.next_chunk == ledger.next_chunk == number + 1
        assert (again.header, again.periods) == (HEADER, [period()])
        # Whoever goes on from what was read writes the same.
        assert again.parts.names == ledger.parts.names == [ledger_name(part) for part in range(max(0, number) // 3 + 1)]
        ledger = again
    assert store.names() == ledger.parts.names
    ledger.append(EndLine())
    found = Ledger.load(store).timeline
    assert found is not None and found.ended and found == ledger.timeline
    assert len(found.periods[0].tracks["360p"].segments) == chunks
    assert found.duration == chunks * Fraction(60060, 30000) or found.duration == chunks * Fraction(96256, 48000)


def test_a_part_is_bounded(store: Store) -> None:
    """An append rewrites a part: its size must not grow with the stream."""
    ledger = Ledger.load(store)
    ledger.append(HEADER, period())
    ledger.append(*(chunk(number) for number in range(600)))
    sizes = [len(store.get(name) or b"") for name in ledger.parts.names]
    assert len(sizes) == 3 and max(sizes) < 60_000
    assert Ledger.load(store).next_chunk == 600


def test_what_is_not_saved_is_not_there(store: Store) -> None:
    ledger = Ledger.load(store)
    ledger.append(HEADER, period(), chunk(0))
    ledger.append(chunk(1), save=False)
    assert ledger.next_chunk == 2 and Ledger.load(store).next_chunk == 1
    ledger.save()
    assert Ledger.load(store).next_chunk == 2


def test_sessions_become_periods_and_the_recording_has_no_pause(store: Store) -> None:
    ledger = Ledger.load(store)
    ledger.append(HEADER, period(), chunk(0), chunk(1))
    # The publisher was away for a minute; its second session counts its chunks from 0 again.
    ledger.append(period("p1", "second", 0, Fraction(70)), chunk(0))
    again = Ledger.load(store)
    assert again.timeline is not None and again.next_chunk == 1
    assert [p.start for p in again.timeline.periods] == [0, 70]
    ledger.append(EndLine())
    again = Ledger.load(store)
    assert again.timeline is not None
    first, second = again.timeline.periods
    assert first.start == 0 and second.start == first.duration


def test_the_length_of_chunks_is_known_of_each_period(store: Store) -> None:
    ledger = Ledger.load(store)
    halves = ((0, 60060, 1000), (60060, 60060, 1000))
    ledger.append(HEADER, period(), ChunkLine(number=0, segments={"360p": halves}), chunk(1, -1))
    ledger.append(period("p1", "second", 0, Fraction(70)), chunk(0))
    timeline = Ledger.load(store).timeline
    assert timeline is not None
    assert [p.longest_chunk for p in timeline.periods] == [Fraction(4004, 1000), Fraction(96256, 48000)]


@pytest.mark.parametrize("text", ["{", '{"type": "what"}', '{"type": "chunk"}', "\x00"])
def test_damage_is_not_taken_for_a_shorter_stream(store: Store, text: str) -> None:
    store.put(ledger_name(0), f"{HEADER.model_dump_json()}\n{text}\n".encode())
    with pytest.raises(
        OutputError,
        match="the ledger of .* is damaged; if another output has the recording, .* else remove the broadcast",
    ):
        Ledger.load(store)


def test_lines_that_contradict_each_other_are_damage(store: Store) -> None:
    """One bit is enough for a rendition, or a period, that the ledger does not know."""
    ledger = Ledger.load(store)
    ledger.append(HEADER, period(), chunk(0))
    written = store.get(ledger_name(0)) or b""
    lines = written.splitlines(keepends=True)
    for damaged in (written.replace(b'"360p":[[', b'"340p":[['), b"".join([lines[0], *lines[2:]]), b"\xff" + written):
        assert damaged != written
        store.put(ledger_name(0), damaged)
        with pytest.raises(DamagedError):
            Ledger.load(store)


def test_a_ledger_without_its_beginning(store: Store) -> None:
    store.put(ledger_name(0), f"{period().model_dump_json()}\n".encode())
    with pytest.raises(OutputError, match="has no beginning"):
        Ledger.load(store)


@pytest.mark.parametrize("keep", [True, False], ids=["recorded", "a channel that forgets"])
def test_captions_are_known_of_the_period_that_has_them(
    store: Store, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    monkeypatch.setattr(module, "PART_CHUNKS", 3)
    header = HEADER.model_copy(update={"keep": keep, "dvr_window_ms": 60_000})
    ledger = Ledger.load(store)
    ledger.append(header, period(), chunk(0), chunk(1).model_copy(update={"captions": True}))
    for number in range(2, 9):
        ledger.append(chunk(number))
    ledger.append(period("p1", "second", start=Fraction(60)), chunk(0))
    found = Ledger.load(store)
    for timeline in (found.timeline, found.shown):
        assert timeline is not None and [one.captions for one in timeline.periods] == [True, False]
        assert b'CLOSED-CAPTIONS="captions"' in render_master(timeline)


def test_a_period_that_is_watched_has_captions_from_its_start_or_not_at_all(store: Store) -> None:
    """dash.js stops for good where an adaptation set gets another descriptor. A recording names all that there are."""
    ledger, rendered = Ledger.load(store), []
    for number in range(3):
        lines = (HEADER, period().model_copy(update={"wall_unix_ms": 1_000})) if number == 0 else ()
        ledger.append(*lines, chunk(number).model_copy(update={"captions": number > 0}))
        assert ledger.timeline is not None
        rendered.append(b"cea-608" in render_mpd(ledger.timeline, now_unix_ms=1))
    ledger.append(EndLine())
    assert ledger.timeline is not None and ledger.watched is not None
    rendered += [b"cea-608" in render_mpd(one, now_unix_ms=1) for one in (ledger.watched, ledger.timeline)]
    assert rendered == [False, False, False, False, True]
    second = Ledger.load(store)
    assert second.watched is not None and not second.watched.periods[0].captions


@pytest.mark.parametrize("part", [0, -1])
def test_a_state_that_leads_back_is_damage_and_not_read_for_ever(tmp_path: Path, part: int) -> None:
    store = LocalStore(tmp_path)
    ledger = Ledger(store)
    ledger.append(HEADER.model_copy(update={"keep": False}), period(), chunk(0))
    ledger.moved_to(Ledger(store), ()).restart()
    data = store.get(ledger_name(0)) or b""
    assert b'"part":1' in data
    store.put(ledger_name(0), data.replace(b'"part":1', b'"part":%d' % part))
    with pytest.raises(DamagedError):
        Ledger.load(store)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b'"timescale":30000', b'"timescale":0'),
        (b'"segment_ms":2000', b'"segment_ms":0'),
        (b'"start":"0"', b'"start":"1/0"'),
    ],
)
def test_numbers_that_cannot_be_are_damage(tmp_path: Path, good: bytes, bad: bytes) -> None:
    store = LocalStore(tmp_path)
    Ledger(store).append(HEADER, period())
    data = store.get(ledger_name(0)) or b""
    assert good in data
    store.put(ledger_name(0), data.replace(good, bad))
    with pytest.raises(DamagedError):
        Ledger.load(store)
