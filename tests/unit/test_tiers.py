"""Where tests are: every module has a test in its room's folder, and what starts processes is no unit test."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.tiers import LONGEST, TESTS, TIERS, tier

ROOT = TESTS.parent
#: What a unit test does not import: it starts processes, makes media or needs a disk of its own.
NOT_PURE = {
    "subprocess", "tests.support.cli", "tests.support.disk", "tests.support.encrypted", "tests.support.media",
    "tests.support.others", "tests.support.segmented", "tests.support.sources",
}  # fmt: skip
#: Modules (or packages) that no test of their own room reaches, and the file that tests them.
ELSEWHERE = {
    "streamwave.broadcasts.check": "component/verify/test_whole.py",
    "streamwave.cli.start": "e2e/test_bad_input.py",
    "streamwave.config.prefect_env": "flows/test_deployment.py",
    "streamwave.ffmpeg.arriving": "component/receive/test_arriving.py",
    "streamwave.manifest.names": "storage/test_outputs.py",
    "streamwave.manifest.progress": "component/pipeline/test_vod.py",
    "streamwave.pipeline.threads": "component/api/test_import.py",
    "streamwave.publish.opening": "component/broadcasts/test_catch_up.py",
    "streamwave.publish.outputs": "storage/test_outputs.py",
    "streamwave.spool.consumed": "component/spool/remote/test_mirror.py",
    "streamwave.spool.encoding": "component/pipeline/test_live.py",
    "streamwave.spool.remote.exchange": "storage/test_spool.py",
    "streamwave.spool.remote.exchanges": "services/test_work_pool.py",
    "streamwave.spool.remote.replica": "storage/test_spool.py",
    "streamwave.spool.stop": "component/receive/test_launch.py",
    "streamwave.state.tokens": "services/test_processing_access.py",
    "streamwave.storage.location": "storage/test_publishing.py",
    "streamwave.streams": "services/test_ingest_streams.py",
    "streamwave.util.digest": "unit/pipeline/test_job.py",
    "streamwave.util.scratch": "component/pipeline/test_vod.py",
    "streamwave.util.version": "component/api/test_import.py",
    "streamwave.util.waiting": "component/receive/test_launch.py",
}


def modules() -> dict[str, Path]:
    """The library's modules by name; what protoc wrote is none of ours."""
    found = {}
    for path in (ROOT / "streamwave").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if "v1" not in parts:
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def room(path: Path) -> str:
    """The folder of a module below ``streamwave``."""
    return path.parent.relative_to(ROOT / "streamwave").as_posix()


@cache
def imports(path: Path) -> frozenset[str]:
    """What a file imports: modules, and names in them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return frozenset(found)


def reached(place: str, tests: Iterable[Path]) -> set[str]:
    """Modules of a room that its tests import, and those that these use."""
    known = modules()
    waiting = [name for test in tests for name in imports(test) if name in known]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found and room(known[name]) == place:
            found.add(name)
            waiting += [one for one in imports(known[name]) if one in known]
    return found


def untested() -> Iterator[str]:
    """Modules that no test of their room reaches, or their package where it has no tests."""
    rooms: dict[str, set[str]] = {}
    for name, path in modules().items():
        if path.name not in ("__init__.py", "__main__.py"):
            rooms.setdefault(room(path), set()).add(name)
    for place, names in rooms.items():
        tests = [file for folder in ("unit", "component") for file in (TESTS / folder / place).glob("test_*.py")]
        for name in sorted(names - reached(place, tests)):
            yield name if tests else name.rpartition(".")[0]


def test_every_module_has_a_test_where_it_is_looked_for() -> None:
    found = set(untested())
    assert found - ELSEWHERE.keys() == set(), "give it a test in its room's folder, or name the file that tests it"
    assert ELSEWHERE.keys() - found == set(), "it has a test in its room's folder now"
    assert [file for file in ELSEWHERE.values() if not (TESTS / file).is_file()] == []


def test_what_starts_processes_is_no_unit_test() -> None:
    files = sorted((TESTS / "unit").rglob("*.py"))
    assert {path.name: found for path in files if (found := imports(path) & NOT_PURE)} == {}


@pytest.mark.parametrize("name", ["unit", "component"])
def test_their_folders_are_those_of_the_rooms(name: str) -> None:
    rooms = {room(path) for path in modules().values()} | {"spool"}
    folders = {file.parent.relative_to(TESTS / name).as_posix() for file in (TESTS / name).rglob("test_*.py")}
    assert folders <= rooms


def test_every_test_has_a_tier_and_the_longest_are_there() -> None:
    folders = {path.parent.relative_to(TESTS).parts[0] for path in TESTS.rglob("test_*.py")}
    assert folders == {folder for folders in TIERS.values() for folder in folders}
    assert [name for name in LONGEST if not (TESTS / name).is_file()] == []
    places = [list(TIERS).index(tier(Path(name))) for name in LONGEST]
    assert places == sorted(places)
