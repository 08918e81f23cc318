"""Folders of state are closed to other users, also those that an earlier version made; nothing else is touched."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from streamwave.cli import doctor_access
from streamwave.config.settings import Settings
from streamwave.errors import SettingsError
from streamwave.state.folders import close_state
from streamwave.storage.local import LocalStore
from streamwave.util.files import PUBLIC_FILE, PUBLIC_FOLDER
from tests.support.others import STRANGER, reachable_folder, seen_by_stranger, too_open, umask

ROOT = Path(__file__).resolve().parents[3]


def settings(folder: Path, **changes: object) -> Settings:
    return Settings.load(None, **{"state_dir": folder / "var", "output_dir": str(folder / "out"), **changes})


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def old_installation(state: Path) -> list[Path]:
    """What the version before left, readable by everybody; its files."""
    files = [
        state / name
        for name in ("prefect/prefect.db", "prefect/prefect.db-wal", "prefect/prefect.db-shm", "prefect/server.log",
                     "logs/ingest.log", "nginx/error.log", "nginx/temp", "setup-prefect.log", "clock.json")
    ]  # fmt: skip
    with umask(0o022):
        for path in (*files, state / "spool" / "show" / "20260101-000000-0001" / "000000" / "000000.mkv"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("secret")
    return files


def test_an_installation_of_the_version_before_is_closed() -> None:
    with reachable_folder() as folder:
        state = folder / "var"
        files = old_installation(state)
        outside = folder / "outside"
        outside.write_text("of the system")
        (state / "logs" / "link.log").symlink_to(outside)
        theirs = state / "logs" / "theirs.log"
        theirs.write_text("theirs")
        os.chown(theirs, STRANGER, STRANGER)
        before = seen_by_stranger(state)
        assert {str(path) for path in files} < before and any("000000.mkv" in path for path in before)
        close_state(settings(folder))
        assert seen_by_stranger(state) == set()
        assert {mode(path) for path in files} == {0o600}
        assert {mode(state / name) for name in (".", "prefect", "logs", "nginx", "spool")} == {0o700}
        # Neither through a link nor what is somebody else's.
        assert (mode(outside), mode(theirs)) == (0o644, 0o644)


def test_an_output_inside_stays_readable_and_the_rest_is_closed() -> None:
    with reachable_folder() as folder:
        state = folder / "var"
        old_installation(state)
        with umask(0o077):
            LocalStore(state / "out" / "film").put("manifest.mpd", b"<MPD/>")
        close_state(settings(folder, output_dir=str(state / "out")), make=True)
        manifest = str(state / "out" / "film" / "manifest.mpd")
        seen = seen_by_stranger(state)
        assert manifest in seen and not [
            path for path in seen if "secret" in path or "spool" in path or "prefect" in path
        ]


def test_a_new_state_folder_is_closed_and_those_above_it_are_not() -> None:
    with reachable_folder() as folder, umask(0o022):
        close_state(settings(folder, state_dir=folder / "a" / "b" / "var"), make=True)
        assert [mode(folder / path) for path in ("a", "a/b", "a/b/var")] == [0o755, 0o755, 0o700]


def test_folders_that_hold_more_than_ours_are_left_alone(tmp_path: Path) -> None:
    """As /var is, whose name a state folder gets by default in the root of the machine."""
    shared = tmp_path / "shared"
    theirs = [
        shared / name for name in (".", "website", "spool", "spool/cron", "spool/cron/crontabs", "nginx", "nginx/body")
    ]
    ours = [shared / "prefect", shared / "logs"]
    for path in (*theirs, *ours):
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o755)
    for path in (shared / "prefect" / "prefect.db", shared / "logs" / "ingest.log", shared / "streamwave.db"):
        path.write_text("secret")
        path.chmod(0o644)
        ours.append(path)
    close_state(settings(tmp_path, state_dir=shared))
    assert {mode(path) for path in theirs} == {0o755}
    assert [mode(path) for path in ours] == [0o700, 0o700, 0o600, 0o600, 0o600]
    for bits in (0o777, 0o1777):
        shared.chmod(bits)
        with pytest.raises(SettingsError, match="everybody may write to .*chmod o-w it, or set STREAMWAVE_STATE_DIR"):
            close_state(settings(tmp_path, state_dir=shared))
        assert mode(shared) == bits


def test_a_spool_on_a_disk_of_its_own(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    for path in (disk / "show" / "20260101-000000-0001", disk / "file-abc"):
        path.mkdir(parents=True)
    (disk / "opening.lock").touch()
    for other in (None, "lost+found/a", "www/html"):
        if other is not None:
            (disk / other).mkdir(parents=True)
        disk.chmod(0o755)
        close_state(settings(tmp_path, spool_place=str(disk)))
        assert mode(disk) == (0o755 if other else 0o700)


def test_a_state_folder_of_somebody_else_is_refused() -> None:
    with reachable_folder() as folder:
        (folder / "var").mkdir()
        os.chown(folder / "var", 65533, 65533)
        before = os.geteuid()
        os.seteuid(STRANGER)
        try:
            with pytest.raises(
                SettingsError, match="var belongs to user 65533: chown it to the user who runs StreamWave, or set"
            ):
                close_state(settings(folder))
        finally:
            os.seteuid(before)


def test_what_is_published_can_be_read_whatever_the_umask() -> None:
    with reachable_folder() as folder:
        for value in (0o077, 0o000):
            with umask(value):
                store = LocalStore(folder / f"out-{value:o}" / "a")
                store.put("p0/video/1.m4s", b"segment")
                store.put("manifest.mpd", b"<MPD/>")
            below = [store.root.parent, *store.root.parent.rglob("*")]
            assert {mode(path) for path in below if path.is_dir()} == {PUBLIC_FOLDER}
            assert {mode(path) for path in below if path.is_file()} == {PUBLIC_FILE}
            assert len(seen_by_stranger(store.root)) == 5


def test_the_setup_closes_what_it_makes_and_what_it_made_before(tmp_path: Path) -> None:
    """The script itself, in a checkout whose packages are installed already, and a stand-in for Prefect's migration."""
    (tmp_path / "deployments").mkdir()
    for name in ("deployments/setup.sh", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to("/usr/bin/python3")
    (programs / "pip").write_text(f"#!{tmp_path}/.venv/bin/python\n")
    (programs / "prefect").write_text('#!/bin/sh\necho made\ntouch "$PREFECT_HOME/prefect.db"\n')
    (programs / "prefect").chmod(0o755)
    stamp = "cat pyproject.toml constraints.txt <(pwd) | sha256sum | cut -d' ' -f1 >.venv/.stamp"
    subprocess.run(["bash", "-c", stamp], cwd=tmp_path, check=True)
    for value in (0o022, 0o000):
        with umask(value):
            subprocess.run(["bash", "deployments/setup.sh", "run"], cwd=tmp_path, check=True, capture_output=True)
        made = {str(path.relative_to(tmp_path)) for path in (tmp_path / "var").rglob("*")}
        assert {"var/prefect", "var/prefect/prefect.db", "var/prefect/.stamp", "var/setup-prefect.log"} <= made
        assert too_open(tmp_path / "var") == {}
        shutil.rmtree(tmp_path / "var" / "prefect")
        # As the version before left it.
        (tmp_path / "var").chmod(0o755)


def test_doctor_names_each_of_it_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    chosen = settings(tmp_path)
    close_state(chosen, make=True)
    good = {name: status for name, status, _, _ in doctor_access.check_access(chosen)}
    assert good["state"] == good[".env"] == good["working folder"] == good["FFmpeg's owner"] == good["code"] == "ok"
    chosen.state_dir.chmod(0o755)
    (here / ".env").write_text("")
    here.chmod(0o777)
    output, tool = Path(chosen.outputs[0].url), here / "ffmpeg"
    output.mkdir()
    output.chmod(0o777)
    tool.symlink_to("/usr/bin/ffmpeg")
    found = list(doctor_access.check_access(chosen.model_copy(update={"ffmpeg_path": str(tool)})))
    bad = {name: (status, text) for name, status, text, _ in found if status != "ok"}
    assert {"state", ".env", "working folder", "FFmpeg's owner", "output"} <= bad.keys()
    assert bad[".env"] == ("fail", f"not read: everybody may write to {here}")
    assert all(remedy for _, status, _, remedy in found if status != "ok")
    assert doctor_access.check_user(0)[1] == "warn" and doctor_access.check_user(1000)[1] == "ok"
    assert doctor_access.check_umask(0)[1] == "warn" and doctor_access.check_umask(0o022)[1] == "ok"
    assert doctor_access.check_code((here,))[1] == "warn"
    os.chown(chosen.state_dir, STRANGER, -1)
    assert next(doctor_access.check_state(chosen))[2].startswith(f"{chosen.state_dir} belongs to")
