"""Metadata of every shape, through the gate, nginx-rtmp and the segmenter: each ends as its pictures and its sound."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from streamwave.spool.segmenter import Options, Segmenter
from tests.matrix.flv import read_tags
from tests.support.media import make_clip
from tests.support.metadata import Published, shapes
from tests.support.processes import wait_for
from tests.support.rtmp import Client, chunks
from tests.support.rtmp_part import Hooks, RtmpPart, hooks, rtmp_part
from tests.support.rtmp_server import playing
from tests.unit.spool.test_segmenter import Spool, contiguous, read

FRAMES, CHUNK = 50, 4096


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Published]]:
    path = tmp_path_factory.mktemp("clip") / "a.flv"
    return list(shapes(read_tags(make_clip(path, frames=FRAMES, gop=25, size="160x90", options=("-bf", "0")).path)))


def publish(part: RtmpPart, hook: Hooks, name: str, published: Published, folder: Path) -> Spool:
    """What the segmenter makes of it, which pulls before it begins, as in an installation."""
    address = f"rtmp://127.0.0.1:{part.internal_port}/live/{name}"
    segmenter = Segmenter(Options(source=address, spool=folder, live=True, segment_ms=1000, read_timeout_s=10))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(segmenter.run)
        wait_for(lambda: hook.count("play", name), f"the puller of {name}")
        with Client(part.port) as client:
            client.publish(name, size=CHUNK)
            with suppress(OSError):  # if it is disconnected, what is missing tells
                client.send(b"".join(chunks(one, CHUNK) for one in published.sent))
                client.socket.shutdown(socket.SHUT_WR)
                client.closed()
        running.result(60)
    return read(folder)


def faults(spool: Spool, due: Published) -> list[str]:
    """What is wrong with what came of a publish."""
    if spool.end is None or spool.end.error is not None or not spool.chunks:
        return [f"ended: {spool.end}"]
    found = []
    pictures = sum(chunk.pictures for chunk in spool.chunks)
    if pictures != (FRAMES if due.pictures else 0):
        found.append(f"{pictures} pictures")
    if due.pictures and spool.opened is not None and spool.opened.rate != 25:
        found.append(f"{spool.opened.rate} fps")
    try:
        contiguous(spool)
    except AssertionError as error:
        found.append(str(error))
    if abs(len(spool.sound()) - 2 * 48000 / 1024) > 3:
        found.append(f"{len(spool.sound())} AAC frames")
    return found


@pytest.fixture(scope="module")
def received(
    clip: list[tuple[str, Published]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, list[str]]]:
    folder = tmp_path_factory.mktemp("shapes")
    with hooks() as hook, rtmp_part(folder, hook.server_port) as part, ThreadPoolExecutor(8) as pool:
        found = {
            name: pool.submit(publish, part, hook, f"fuzz{number}", published, folder / f"{number}")
            for number, (name, published) in enumerate(clip)
        }
        yield {name: faults(found[name].result(), published) for name, published in clip}


def test_every_shape_of_metadata_is_survived(received: dict[str, list[str]]) -> None:
    assert {name: wrong for name, wrong in received.items() if wrong} == {}


def test_every_shape_from_a_server_is_survived(clip: list[tuple[str, Published]], tmp_path: Path) -> None:
    """As other servers send what others publish there, which nobody writes anew."""

    def pulled(number: int, published: Published) -> Spool:
        folder = tmp_path / str(number)
        with playing(published.sent) as address:
            Segmenter(Options(source=address, spool=folder, live=True, segment_ms=1000, read_timeout_s=10)).run()
        return read(folder)

    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(pulled, number, published) for number, (_, published) in enumerate(clip)]
    wrong = {name: faults(one.result(), published) for one, (name, published) in zip(found, clip, strict=True)}
    assert {name: one for name, one in wrong.items() if one} == {}
