import pytest

from streamwave.errors import MediaError
from streamwave.mp4.boxes import Box, Fields, box, find, find_all, full_box, iter_boxes, need


def test_boxes_are_found_where_they_were_put() -> None:
    data = box("moof", full_box("mfhd", 0, 0, bytes(4)), box("traf", b""), box("traf", box("trun", b"x")))
    assert [b.type for b in iter_boxes(data)] == ["moof"]
    assert [b.start for b in find_all(data, "moof/traf")] == [24, 32]
    trun = need(data, "moof/traf/trun")
    assert data[trun.payload : trun.end] == b"x"
    assert find(data, "moof/mdat") is None


def test_a_full_box_has_version_and_flags() -> None:
    data = full_box("tfdt", 1, 0x20003A, b"\xff\xff")
    fields = Fields(data, need(data, "tfdt"))
    assert fields.version_flags() == (1, 0x20003A)
    assert fields.signed(2) == -1
    with pytest.raises(MediaError, match="too short"):
        fields.unsigned(1)


def test_a_64_bit_size_is_read() -> None:
    data = bytes.fromhex("00000001") + b"mdat" + (20).to_bytes(8, "big") + b"abcd" + box("free")
    assert list(iter_boxes(data)) == [Box("mdat", 0, 16, 20), Box("free", 20, 28, 28)]


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0",  # half a header
        bytes.fromhex("00000009") + b"mdat",  # payload missing
        bytes.fromhex("00000007") + b"mdat",  # smaller than its header
        bytes.fromhex("00000000") + b"mdat" + b"open to the end",
        bytes.fromhex("00000001") + b"mdat" + bytes(4),  # half a 64-bit header
        bytes.fromhex("00000001") + b"mdat" + (15).to_bytes(8, "big"),
    ],
)
def test_damaged_boxes_are_errors(data: bytes) -> None:
    with pytest.raises(MediaError):
        list(iter_boxes(data))


def test_a_child_may_not_reach_beyond_its_parent() -> None:
    inner = box("trun", bytes(8))
    data = box("traf", inner[:-4]) + box("free", bytes(100))
    with pytest.raises(MediaError, match="truncated"):
        find_all(data, "traf/trun")


def test_need_wants_exactly_one() -> None:
    with pytest.raises(MediaError, match="0 boxes moov"):
        need(box("free"), "moov")
    with pytest.raises(MediaError, match="2 boxes free"):
        need(box("free") * 2, "free")
