"""``import streamwave``: what it loads, which names it offers, and that type checkers know them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import streamwave
from streamwave import api

ROOT = Path(streamwave.__file__).parents[1]
PUBLIC = {
    "Broadcast", "Exported", "Live", "Rendition", "RenditionReport", "Settings", "SourceInfo", "Status", "Transcoded",
    "Verification", "__version__", "errors", "ladder", "list_broadcasts", "open_broadcast", "open_live", "probe", "transcode",
}  # fmt: skip
#: What costs time or memory, or is another program's.
HEAVY = {
    "asyncio", "av", "ffmpeg", "fsspec", "fastapi", "grpc", "httpx", "numpy", "prefect", "pydantic", "rich", "s3fs",
    "sqlalchemy", "typer", "uvicorn",
}  # fmt: skip


def loaded(program: str) -> set[str]:
    """Top-level packages, and ours, that a fresh interpreter has loaded after ``program``."""
    program += "\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    names = set(done.stdout.split())
    return {name.partition(".")[0] for name in names} | {name for name in names if name.startswith("streamwave.")}


def test_importing_it_loads_next_to_nothing() -> None:
    program = "import streamwave; streamwave.__version__; streamwave.errors.SourceError; dir(streamwave)"
    found = loaded(program)
    assert found & HEAVY == set()
    assert {name for name in found if name.startswith("streamwave.")} == {
        "streamwave.errors", "streamwave.util", "streamwave.util.version",
    }  # fmt: skip


def test_using_it_loads_neither_prefect_nor_servers_nor_the_command_line() -> None:
    found = loaded("import streamwave; streamwave.transcode; streamwave.open_broadcast")
    assert (
        found
        & {
            "prefect",
            "fastapi",
            "uvicorn",
            "grpc",
            "typer",
            "rich",
            "flows",
            "tasks",
            "services",
            "dask",
            "distributed",
        }
        == set()
    )
    assert "streamwave.pipeline.threads" in found


def test_its_names() -> None:
    """They are promised: one that goes, or means something else, is a new major version."""
    assert set(streamwave.__all__) == PUBLIC
    assert set(api.__all__) == PUBLIC - {"__version__", "errors"}
    for name in streamwave.__all__:
        assert getattr(streamwave, name) is not None and name in dir(streamwave)
    assert all(getattr(streamwave, name) is getattr(api, name) for name in api.__all__)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'streamwave' has no attribute 'transcod'"):
        streamwave.transcod  # noqa: B018


def test_type_checkers_know_it_from_outside(tmp_path: Path) -> None:
    """What is imported is not followed into other packages: that takes half a minute, and is theirs."""
    (tmp_path / "user.py").write_text(
        "from fractions import Fraction\n"
        "import streamwave\n"
        "made: streamwave.Transcoded = streamwave.transcode('a.mp4', 'out', on_progress=lambda done, due: None)\n"
        "reveal_type(made.outputs)\n"
        "reveal_type(streamwave.open_broadcast('a').verify().renditions)\n"
        "reveal_type([status.state for status in streamwave.open_broadcast('a').follow()])\n"
        "reveal_type(streamwave.ladder('a.mp4'))\n"
        "reveal_type(streamwave.errors.IncompleteError('a').behind)\n"
        "streamwave.transcode(1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--follow-imports=silent", "user.py"],
        capture_output=True, text=True, cwd=tmp_path, env={"MYPYPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip
    lines = [line.partition(": ")[2] for line in done.stdout.splitlines() if line.startswith("user.py")]
    revealed = [line.partition('"')[2].rstrip('"').replace("builtins.", "") for line in lines[:-1]]
    assert revealed == [
        "tuple[str, ...]",
        "typing.Mapping[str, streamwave.verify.counting.RenditionReport]",
        "list[str]",
        "tuple[streamwave.model.Rendition, ...]",
        "tuple[str, ...]",
    ], done.stdout
    assert 'incompatible type "int"; expected "str | PathLike[str]"' in lines[-1]
