"""Another user of the machine can read only what is published, and cannot make us run their code."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamwave.state.folders import KNOWN
from tests.support.cli import Cli, copy_database
from tests.support.live import Installation, is_static
from tests.support.media import Clip, make_clip
from tests.support.others import STRANGER, reachable_folder, seen_by_stranger, too_open, trap_program, traps, umask
from tests.support.processes import alive, marked, wait_for

#: Modules that Python imports at its start, that the parts run with -m, and that they import.
MODULES = ("av", "prefect", "uvicorn", "streamwave", "flows", "services", "pydantic", "sitecustomize", "json")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=100, gop=25)


@pytest.fixture(scope="module")
def up(prefect_api: str, prefect_home: Path) -> Iterator[Installation]:
    """An installation with files that an older version has left readable, started with umask 0."""
    with reachable_folder() as folder, umask(0o000):
        found = Installation(folder, prefect_home)
        for name in ("logs/ingest.log", "nginx/error.log", "prefect/server.log", "clock.json"):
            path = found.cli.state / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("{}")
        try:
            assert str(found.cli.state / "prefect" / "prefect.db") in seen_by_stranger(found.cli.state)
            found.start()
            yield found
        finally:
            found.close()


def test_he_sees_what_is_published_and_nothing_else(up: Installation, clip: Clip) -> None:
    key = up.add_stream("show")
    with up.publish(clip, key, loop=True):
        spool = up.broadcast("show")
        up.published_chunks(spool, 2)
        # Everything is in use now: spool, journal, logs, databases, sockets, perhaps FFmpeg.
        assert list(spool.folder.rglob("*.mkv")) or list(spool.folder.rglob("000*"))
        assert seen_by_stranger(up.cli.state, up.cli.temporary) <= {str(up.cli.temporary)}
        assert too_open(up.cli.state) == {}
        nginx, titles = up.nginx(), {**marked(up.cli.mark), **{pid: [title] for pid, title in up.nginx().items()}}
        said = {pid: Path(f"/proc/{pid}/status").read_text() for pid in titles if alive(pid)}
        for wanted in (r"NoNewPrivs:\t1\n", r"Umask:\t0077\n"):
            assert [titles[pid] for pid, text in said.items() if not re.search(wanted, text)] == []
        # nginx keeps only the capabilities to bind low ports, to switch to its user and to read files.
        assert [titles[pid] for pid in nginx if "CapBnd:\t00000000000004c6\n" not in said[pid]] == [] != list(nginx)
    # A folder with unknown files would stay readable, because they are not ours.
    assert [path.name for path in up.cli.state.iterdir() if not KNOWN.fullmatch(path.name)] == []
    root = up.finished(spool)
    assert is_static(root)
    assert {str(path) for path in root.rglob("*")} <= seen_by_stranger(root)
    modes = {path.is_dir(): stat.S_IMODE(path.stat().st_mode) for path in root.parents[1].rglob("*")}
    assert modes == {True: 0o755, False: 0o644}
    assert too_open(up.cli.state) == {}


def test_root_is_told_once(up: Installation) -> None:
    said = up.log.read_text()
    assert said.count("running as root") == 1
    (line,) = [line for line in said.splitlines() if "running as root" in line]
    assert "adduser --system --group streamwave" in line


def test_what_a_person_asks_for_follows_their_umask(up: Installation, clip: Clip) -> None:
    film = up.finished(up.broadcast("show"))
    for value, mode in ((0o000, 0o666), (0o027, 0o640), (0o077, 0o600)):
        with umask(value):
            name = f"film-{value:o}.mp4"
            done = up.cli.run("broadcasts", "export", f"show/{film.name}", "--to", name)
        assert (done.code, stat.S_IMODE((up.folder / name).stat().st_mode)) == (0, mode), done.err


def test_a_transcode_in_his_folder_runs_only_our_code(prefect_api: str, prefect_home: Path, clip: Clip) -> None:
    """The working folder belongs to the other user and has their modules and FFmpeg; state and output are ours."""
    with reachable_folder() as folder, umask(0o022):
        his = folder / "his"
        his.mkdir()
        cli = Cli(folder, {"PATH": f".:{os.environ['PATH']}"})
        copy_database(prefect_home, cli.state / "prefect")
        sprung = [traps(his, *MODULES), *(trap_program(his / name) for name in ("ffmpeg", "setpriv", "nginx", "echo"))]
        os.chown(his, STRANGER, STRANGER)
        done = cli.run("transcode", str(clip.path), "--output", str(folder / "out"), cwd=his)
        assert (done.code, done.err) == (0, "")
        assert [path.read_text() for path in sprung if path.exists()] == []
        assert too_open(cli.state) == {}
        assert seen_by_stranger(cli.state) == set()
        assert {str(path) for path in (folder / "out").rglob("*")} <= seen_by_stranger(folder / "out")


def test_settings_in_his_folder_are_refused(cli: Cli, clip: Clip, tmp_path: Path) -> None:
    his = tmp_path / "his"
    his.mkdir()
    sprung = trap_program(his / "evil")
    os.chown(his, STRANGER, STRANGER)
    (his / "prefect.toml").write_text('logging.config_path = "logging.yml"\n')
    for name in ("prefect.toml", ".env"):
        if name == ".env":
            (his / ".env").write_text("FFMPEG_PATH=./evil\n")
        done = cli.run("transcode", str(clip.path), "--output", str(tmp_path / "out"), cwd=his)
        assert done.code == 2 and name in done.err and f"{his} belongs to" in done.err and "chown" in done.err, done.err
        assert len(done.err.splitlines()) == 1
    told = cli.run("doctor", cwd=his)
    assert told.code == 1 and "not read" in told.out
    # `up` refuses, because it would keep reading there while it runs.
    (his / ".env").unlink()
    done = cli.run("up", cwd=his)
    assert done.code == 2 and f"the working directory is not safe, because {his} belongs to nobody" in done.err, (
        done.err
    )
    assert not sprung.exists()
    wait_for(lambda: marked(cli.mark) == {}, "the end of the commands")
