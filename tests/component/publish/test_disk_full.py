"""An output whose disk is full while a broadcast is published: what is named stays whole, and nothing is missing later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamwave.broadcasts.catalog import Output
from streamwave.errors import OutputError
from streamwave.manifest.lines import BroadcastLine
from streamwave.manifest.packaged import PackagedChunk
from streamwave.publish.publication import Publication
from streamwave.storage.store import LocalStore
from streamwave.verify import verify_broadcast
from tests.support.disk import fill, small_disk
from tests.support.media import make_clip
from tests.support.published import CREATED_MS, packaged


@pytest.fixture(scope="module")
def chunks(tmp_path_factory: pytest.TempPathFactory) -> list[PackagedChunk]:
    folder = tmp_path_factory.mktemp("chunks")
    return packaged(folder, make_clip(folder / "a.mp4", frames=150, gop=25))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 4000) as found:
        yield found


def publish(published: Publication, chunk: PackagedChunk) -> bool:
    """Whether the chunk found space."""
    try:
        published.publish(chunk, "000000", "p0", CREATED_MS)
    except OutputError as error:
        assert "no space left; free some or choose another place" in str(error)
        return False
    return True


@pytest.mark.parametrize("left", [0, 4096, 9000, 30_000, 60_000, 90_000])
@pytest.mark.parametrize("restart", [False, True], ids=["same run", "another run"])
def test_whatever_space_is_left_nothing_dangles_and_it_goes_on(
    disk: Path, chunks: list[PackagedChunk], left: int, restart: bool
) -> None:
    root = LocalStore(disk / "out")
    header = BroadcastLine(created_unix_ms=CREATED_MS, segment_ms=1000, fingerprint="f")
    published = Publication(root, manifests=True, token="first")
    published.begin(header)
    assert publish(published, chunks[0])
    ballast = fill(disk, but=left)
    number, refused = 1, 0
    while refused < 4:
        assert number < len(chunks), "the disk was not full"
        # A try again may find space: the manifests are replaced at once, and how many files exist twice meanwhile varies.
        if publish(published, chunks[number]):
            number += 1
            continue
        refused += 1
        verdict = verify_broadcast(root, decode=False)
        assert verdict.findings == [] and verdict.renditions["large"].samples >= 25 * number
    assert not [name for name in root.names() if name.rpartition("/")[2].startswith(".")]
    ballast.unlink()
    if restart:
        published.close()
        published = Publication(LocalStore(disk / "out"), manifests=True, token="second")
        published.begin(header)
    for chunk in chunks[published.next_chunk("000000") or 0 :]:
        assert publish(published, chunk)
    published.finish()
    published.close()
    verdict = verify_broadcast(root)
    assert verdict.findings == [] and verdict.renditions["large"].samples == 150
    assert Output(str(disk), {}, disk).store("out").names() == root.names()
