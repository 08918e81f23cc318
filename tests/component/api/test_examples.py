"""docs/api.md: it is what the docstrings say, and its examples do what they show."""

from __future__ import annotations

import doctest
import re
from functools import partial
from pathlib import Path

import pytest

import streamwave
from streamwave.config.settings import Settings
from streamwave.model import AudioInfo, VideoInfo
from streamwave.pipeline.chunk import publish_chunk
from streamwave.pipeline.live import LiveBroadcast
from streamwave.receive.segmenter import Segmenter
from streamwave.spool.broadcast import open_session
from streamwave.spool.options import Options
from tests.api_page import PAGE, page
from tests.support.media import make_clip


@pytest.fixture(scope="module")
def made() -> str:
    """The page, as it comes out now; that takes seconds."""
    return page()


def test_the_page_is_in_step_with_the_docstrings(made: str) -> None:
    assert PAGE.read_text(encoding="utf-8") == made, "run: make docs"


@pytest.mark.parametrize("kind", [
    *(one for one in map(partial(getattr, streamwave), streamwave.__all__) if isinstance(one, type)), VideoInfo, AudioInfo,
])  # fmt: skip
def test_every_attribute_is_on_the_page(kind: type, made: str) -> None:
    """Those of settings are on a page of their own, those of a live source are its methods'."""
    section = re.split(rf"^### `(?:streamwave\.)?{kind.__name__}`$", made, flags=re.MULTILINE)[1].partition("\n### ")[0]
    fields = getattr(kind, "model_fields", None) or getattr(kind, "__dataclass_fields__", {})
    missing = [name for name in fields if not name.startswith("_") and f"| `{name}` |" not in section]
    assert section and (missing == [] or kind is Settings)


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clip = make_clip(tmp_path / "talk.mp4", frames=100, gop=25, size="320x180")
    settings = Settings.load(
        segment_seconds=1, preset="ultrafast", ladder='{"rungs": [{"name": "s", "short_side": 36, "max_kbps": 100}]}'
    )
    spool, session = open_session(settings.spool_dir, "stage", output=settings.output_url, window_ms=0)
    Segmenter(Options(source=f"file:{clip.path}", spool=session, segment_ms=1000)).run()
    with LiveBroadcast(spool, settings, "run") as broadcast:
        for job, record in broadcast.chunks():
            publish_chunk(job, record)
            broadcast.stored()
        broadcast.finish()
    done = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert done.attempted > 15
    assert done.failed == 0  # what differs is printed
