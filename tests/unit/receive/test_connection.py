"""A connection that breaks off or falls silent ends what came; one that libavformat gives up is opened again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av.error
import pytest

from streamwave.errors import SourceError
from streamwave.ffmpeg.flv import FILE_HEADER_BYTES
from streamwave.ffmpeg.limits import USUAL
from streamwave.receive import connection as module
from streamwave.receive.connection import MOST_REOPENED, Connection


class Raw:
    """Bytes, and how they end."""

    def __init__(self, data: bytes, failure: Exception | None = None) -> None:
        self.data, self.failure = data, failure

    def demux(self) -> Iterator[Any]:
        class Piece(bytes):
            size = property(len)

        for at in range(0, len(self.data), 5):
            yield Piece(self.data[at : at + 5])
        if self.failure is not None:
            raise self.failure


def connection(source: str = "http://host/live") -> Connection:
    return Connection(source, timeout_s=1, limits=USUAL)


INVALID = av.error.InvalidDataError(1094995529, "invalid")
SILENT = av.error.ExitError(1414092869, "exit")


def test_an_end_and_a_break_are_the_same() -> None:
    for failure in (None, av.error.ConnectionResetError(104, "reset")):
        one = connection()
        assert b"".join(one.pieces(Raw(b"0123456789", failure))) == b"0123456789"
        assert one.fell_silent is None


@pytest.mark.parametrize(("source", "told"), [("http://host/live", True), ("rtmp://host/app/key", False)])
def test_silence_ends_what_came_and_only_rtmp_servers_may_be_silent(source: str, told: bool) -> None:
    one = connection(source)
    with pytest.raises(av.error.ExitError):
        list(one.pieces(Raw(b"", SILENT)))
    one.established = True
    assert b"".join(one.pieces(Raw(b"0123", SILENT))) == b"0123"
    assert (one.fell_silent is not None) is told


def test_rtmp_goes_on_in_another_connection_without_the_header_that_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    header = bytes(FILE_HEADER_BYTES)
    again = [Raw(header + b"second", INVALID), Raw(header + b"third")]
    monkeypatch.setattr(module, "open_source", lambda *_, **__: again.pop(0))
    one = connection("rtmp://host/app/key")
    one.established = True
    assert b"".join(one.pieces(Raw(header + b"first", INVALID))) == header + b"firstsecondthird"
    assert one.reopened == 2


def test_it_is_not_opened_again_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_source", lambda *_, **__: Raw(b"", INVALID))
    one = connection("rtmp://host/app/key")
    one.established = True
    assert list(one.pieces(Raw(b"x", INVALID))) == [b"x"] and one.reopened == MOST_REOPENED


def test_a_source_that_is_refused_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    one = connection()
    one.established = True
    assert list(one.pieces(Raw(b"", SourceError("too slow")))) == [] and one.fell_silent == "too slow"
