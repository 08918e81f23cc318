"""The rules of the house: its rooms, who may start processes, how long a module is, what no file may hold."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rooms import PAGE, look, with_picture

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("streamwave", "tasks", "flows", "services")

GENERATED = "streamwave/v1/"

#: Who may start processes: the launcher; the one that asks a program for its version; those that run nginx.
LAUNCHERS = {
    "streamwave/cli/serve.py",
    "streamwave/ffmpeg/process.py",
    "streamwave/util/programs.py",
    "services/media/server.py",
    "services/rtmp/server.py",
}
LAUNCHING = re.compile(r"^(system|popen|exec[lv]p?e?|spawn[lv]p?e?|posix_spawnp?|create_subprocess_\w+|run_async)$")
STARTING = re.compile(r"^(run|Popen|call|check_call|check_output|getoutput|getstatusoutput)$")

MAX_LINES = 400

SKIPPED_FOLDERS = {
    ".git",
    ".venv",
    ".hypothesis",
    "node_modules",
    "site",
    "var",
    "out",
    "build",
    ".cache",
    "__pycache__",
    "media",
}
#: Names of package registries and folders of a particular machine; cut in two so that this file does not hold them.
FORBIDDEN = {
    "registry address": re.compile(
        r"//[\w.@:-]*(py" r"pi\.org|python" r"hosted\.org|npm" r"js\.(org|com)|deb\.deb" r"ian\.org|registry\.\w)"
    ),
    "path of a machine": re.compile(r"(?<![\w.~}/-])/(ro" r"ot|wo" r"rk|ho" r"me/\w+|Us" r"ers/\w+)/\w"),
    "open end": re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b"),
}  # fmt: skip


def modules() -> Iterator[tuple[str, str]]:
    """(path from the root, source) of every module of the product."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def imports(source: str) -> set[str]:
    """Dotted names that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def launches(source: str) -> set[str]:
    """How a module starts processes, if it does. To name ``subprocess.Popen`` in an annotation is not to start one."""
    tree = ast.parse(source)
    found = {name for name in imports(source) if name.split(".")[0] in ("pty", "multiprocessing")}
    modules, functions = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name for alias in node.names if alias.name == "subprocess"}
        elif isinstance(node, ast.ImportFrom) and node.module == "subprocess":
            functions |= {alias.asname or alias.name for alias in node.names if STARTING.match(alias.name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and LAUNCHING.match(node.attr):
            found.add(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions:
            found.add(node.func.id)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and STARTING.match(node.func.attr)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in modules
        ):
            found.add(f"subprocess.{node.func.attr}")
    return found


def texts() -> Iterator[tuple[str, str]]:
    """(path from the root, content) of every text file of the checkout."""
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [name for name in subfolders if name not in SKIPPED_FOLDERS and not name.endswith("_cache")]
        for name in sorted(names):
            path = Path(folder, name)
            if name != ".env" and path.is_file() and path.stat().st_size < 2_000_000:
                content = path.read_bytes()
                if b"\0" not in content:
                    yield path.relative_to(ROOT).as_posix(), content.decode("utf-8", "replace")


def test_the_house_has_few_rooms_few_floors_and_no_circles() -> None:
    """Which room may import which, `make check` asks import-linter: the contracts stand in pyproject.toml."""
    assert look().faults == []


def test_the_contracts_know_every_room() -> None:
    """import-linter itself checks that of those with containers only."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    known = {
        one["name"]: set(
            re.findall(r"streamwave\.(\w+)", one["layers"][-1] if "layers" in one else str(one["source_modules"]))
        )
        for one in contracts
        if one["name"].startswith(("cli → flows", "No orchestration"))
    }
    rooms = {
        path.stem for path in (ROOT / "streamwave").iterdir() if path.suffix in ("", ".py") and path.stem[0] != "_"
    }
    (layers, library) = known.values()
    assert layers == rooms - {"cli"}
    assert library == rooms - {"cli", "v1"}  # generated, and imports grpc


def test_the_page_on_the_architecture_shows_the_house() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_picture(page), "run: make docs"


def test_nothing_is_imported_by_a_name_that_import_linter_cannot_see() -> None:
    hidden = {path for path, source in modules() if re.search(r"\b(import_module|__import__)\(", source)}
    assert hidden == set()


def test_only_the_launchers_start_processes() -> None:
    others = {path: how for path, source in modules() if path not in LAUNCHERS and (how := launches(source))}
    assert others == {}


def test_modules_are_short() -> None:
    lengths = {path: source.count("\n") for path, source in modules() if not path.startswith(GENERATED)}
    assert {path: lines for path, lines in lengths.items() if lines > MAX_LINES} == {}


def test_no_test_imports_another_one() -> None:
    """What several tests need is in tests/support."""
    found = [
        f"{path}: {name}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for name in imports(path.read_text(encoding="utf-8"))
        if re.search(r"^tests\.(\w+\.)*test_\w+", name)
    ]
    assert found == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        path
        for path, source in modules()
        if source.strip() and not path.startswith(GENERATED) and not ast.get_docstring(ast.parse(source))
    ]
    assert silent == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    places = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, content in texts()
        for number, line in enumerate(content.splitlines(), 1)
        if FORBIDDEN[what].search(line)
    ]
    assert places == []


def test_relative_links_of_the_documents_lead_somewhere() -> None:
    broken = []
    for path, content in texts():
        if path.endswith(".md"):
            for target in re.findall(r"(?:\]\(|href=\")(?!https?:|#|mailto:)([^)#\s\"]+)", content):
                if not (ROOT / path).parent.joinpath(target).exists():
                    broken.append(f"{path}: {target}")
    assert broken == []


def test_each_row_of_the_threat_model_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"\[`(test_\w+)`\]\(\.\./(\S+?)\)", page)
    assert len(named) > 50
    assert [f"{path}: {name}" for name, path in named if f"def {name}(" not in (ROOT / path).read_text()] == []


@pytest.mark.parametrize(
    "source",
    [
        "import subprocess\nsubprocess.run([])",
        "import subprocess as s\ns.Popen([])",
        "from subprocess import run\nrun([])",
        "import multiprocessing",
        "import os\nos.execv('x', [])",
        "import os\nos.system('x')",
        "import asyncio\nasyncio.create_subprocess_exec('x')",
        "stream.run_async()",
    ],
)
def test_the_rule_about_processes_bites(source: str) -> None:
    assert launches(source)


def test_naming_a_process_type_is_no_start() -> None:
    assert not launches("import subprocess\ndef f(p: subprocess.Popen[bytes]) -> None: p.wait()")
