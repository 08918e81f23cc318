"""Where the edit lists of a file show nothing in the middle; what is no such file has no gaps."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import pytest

from streamwave.receive.gaps import MOST_EDITS, gaps_of
from tests.matrix.edits import Edit, edited
from tests.matrix.source import Recipe

F = Fraction
MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
NOTHING: Edit = (F(1, 2), None)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Recipe(frames=50).make(tmp_path_factory.mktemp("plain") / "a")


def test_what_begins_late_has_no_gap_and_each_track_has_its_own(plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    pictures = [NOTHING, (F(1), F(0)), NOTHING, (F(1, 5), F(1)), NOTHING, NOTHING]
    edited(pictures, [NOTHING, NOTHING, (F(1), F(0))])(plain, path)
    assert gaps_of(f"file://{path}", MP4) == {
        1: ((F(3, 2), F(2)), (F(11, 5), F(27, 10)), (F(27, 10), F(16, 5))),
        2: (),
    }
    assert gaps_of(f"file://{path}", "matroska,webm") == {}
    assert gaps_of("http://127.0.0.1/a.mp4", MP4) == {}


@pytest.mark.parametrize(
    "head",
    [b"", b"moov", struct.pack(">I4sQ", 1, b"moov", 2**64 - 1), struct.pack(">I4s", 7, b"free"), bytes(100)],
    ids=["empty", "short", "beyond all files", "smaller than its header", "zeros"],
)
def test_what_cannot_be_followed_has_none(head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(head)
    assert gaps_of(f"file://{path}", MP4) == {}


def test_of_very_many_edits_the_first_ones_count(plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    edited([(F(1), F(0)), *[NOTHING] * 5000])(plain, path)
    assert 900 < len(gaps_of(f"file://{path}", MP4)[1]) <= MOST_EDITS


def test_an_index_that_is_cut_off_has_none(plain: Path, tmp_path: Path) -> None:
    data, path = bytearray(plain.read_bytes()), tmp_path / "a.mp4"
    at = data.index(b"elst")
    data[at + 8 : at + 12] = b"\xff" * 4  # entries
    path.write_bytes(data)
    assert gaps_of(f"file://{path}", MP4) == {}
