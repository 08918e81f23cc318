"""What is read and executed out of the working directory: only what nobody else could have put there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamwave.config.settings import Settings
from streamwave.errors import SettingsError
from streamwave.ffmpeg.locate import locate
from streamwave.ffmpeg.process import spawn
from streamwave.util import trust
from streamwave.util.confine import FILES, guarded
from streamwave.util.private import begin, python_argv
from tests.support.others import STRANGER, trap_program, traps


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, which is ours alone at first, with a file of settings."""
    folder = tmp_path / "here"
    folder.mkdir(mode=0o755)
    (folder / ".env").write_text("STREAMWAVE_CRF=31\n")
    monkeypatch.chdir(folder)
    return folder


def test_our_own_env_file_is_read(here: Path) -> None:
    assert Settings.load().crf == 31


@pytest.mark.parametrize(
    "what", ["folder of another", "file of another", "open folder", "open file", "open group", "link"]
)
def test_an_env_file_that_others_could_have_written_is_refused(here: Path, tmp_path: Path, what: str) -> None:
    if what == "folder of another":
        os.chown(here, STRANGER, -1)
    elif what == "file of another":
        os.chown(here / ".env", STRANGER, -1)
    elif what == "open folder":
        here.chmod(0o1777)
    elif what == "open file":
        (here / ".env").chmod(0o666)
    elif what == "open group":
        os.chown(here, -1, STRANGER)
        here.chmod(0o775)
    else:
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        theirs.chmod(0o777)
        (here / ".env").rename(theirs / "file")
        (here / ".env").symlink_to(theirs / "file")
    with pytest.raises(SettingsError) as refused:
        Settings.load()
    assert "\n" not in str(refused.value)
    for part in (
        ".env is not read, because ",
        "chmod" if "open" in what or what == "link" else "chown",
        "STREAMWAVE_ENV_FILE",
    ):
        assert part in str(refused.value)


def test_a_group_of_ours_alone_is_nobody_else(here: Path) -> None:
    here.chmod(0o775)  # as a umask of 002 makes it, in a group that only this user is in
    assert Settings.load().crf == 31


def test_the_file_that_is_named_is_read_instead(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here.chmod(0o777)
    (tmp_path / "mine").write_text("STREAMWAVE_CRF=20\n")
    monkeypatch.setenv("STREAMWAVE_ENV_FILE", str(tmp_path / "mine"))
    assert Settings.load().crf == 20
    monkeypatch.setenv("STREAMWAVE_ENV_FILE", "")
    assert Settings.load().crf == 23
    monkeypatch.setenv("STREAMWAVE_ENV_FILE", "/none")
    with pytest.raises(SettingsError, match="STREAMWAVE_ENV_FILE names '/none', which does not exist or is not a file"):
        Settings.load()


@pytest.mark.parametrize(("variable", "name"), [("FFMPEG_PATH", "./tool"), ("STREAMWAVE_LADDER", "ladder.toml")])
def test_files_named_by_relative_paths(here: Path, monkeypatch: pytest.MonkeyPatch, variable: str, name: str) -> None:
    (here / name).write_text("")
    monkeypatch.setenv(variable, name)
    Settings.load()
    (here / ".env").unlink()
    here.chmod(0o777)
    with pytest.raises(
        SettingsError, match=f"{variable} names '{name}' in the working directory, but everybody may write"
    ):
        Settings.load()
    monkeypatch.setenv(variable, str(here / name))
    Settings.load()


@pytest.mark.parametrize("entry", [".", "", "bin"])
def test_programs_are_not_looked_for_where_one_stands(here: Path, monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    (here / "bin").mkdir()
    sprung = [trap_program(here / place / "ffmpeg") for place in (".", "bin")]
    monkeypatch.setenv("PATH", f"{entry}{os.pathsep}{os.environ['PATH']}")
    assert os.path.isabs(locate().path)
    assert not any(path.exists() for path in sprung)


def test_a_module_is_not_taken_from_where_one_stands(here: Path) -> None:
    sprung = traps(here, "av", "prefect", "streamwave", "pydantic", "uvicorn")
    ran = subprocess.run(python_argv("streamwave.receive.segmenter"), input=b"{}", capture_output=True, check=False)
    assert b"validation error" in ran.stderr  # so it was ours
    assert not sprung.exists()


def test_services_do_not_start_where_others_can_write(here: Path) -> None:
    (here / ".env").unlink()
    here.chmod(0o777)
    ran = subprocess.run(
        python_argv("services.media", "--live"), capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 2 and f"because everybody may write to {here}" in ran.stderr, ran.stderr


@pytest.mark.parametrize("name", ["prefect.toml", "pyproject.toml"])
def test_prefect_takes_no_settings_from_there(here: Path, tmp_path: Path, name: str) -> None:
    (here / name).write_text("[tool.prefect.logging]\nlevel = 'DEBUG'\n[logging]\nlevel = 'DEBUG'\n")
    here.chmod(0o777)
    with (
        pytest.raises(SettingsError, match=f"Prefect's settings in {name} are not read"),
        trust.away_from_here(tmp_path),
    ):
        pass
    (here / name).unlink()
    with trust.away_from_here(tmp_path):
        assert Path.cwd() == tmp_path
    assert Path.cwd() == here


def _status(**options: object) -> dict[str, str]:
    process = spawn(["cat", "/proc/self/status"], stdout=subprocess.PIPE, **options)  # type: ignore[arg-type]
    out, _ = process.communicate(timeout=60)
    return {name: value.strip() for name, _, value in (line.partition(":") for line in out.decode().splitlines())}


@pytest.mark.parametrize("survive", [False, True])
def test_children_can_gain_no_privileges(survive: bool) -> None:
    assert _status(survive=survive)["NoNewPrivs"] == "1"


def test_root_keeps_of_its_capabilities_only_those_for_files(tmp_path: Path) -> None:
    found = _status(confined=True)
    # CAP_DAC_OVERRIDE is 1, CAP_DAC_READ_SEARCH 2.
    assert {found[name] for name in ("CapBnd", "CapPrm", "CapEff")} == {f"{0b110:016x}"}
    assert found["CapInh"] == f"{0:016x}"
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    theirs.chmod(0o600)
    os.chown(theirs, STRANGER, STRANGER)
    assert subprocess.check_output([*guarded("KILL", FILES), "cat", str(theirs)]) == b"theirs"


def test_begin_sets_what_children_inherit() -> None:
    code = (
        "import os; os.umask(0); from streamwave.util.private import begin, umask_of_user; "
        f"{begin.__name__}(); {begin.__name__}(); "
        "print(oct(umask_of_user())); print(*[l for l in open('/proc/self/status') if l.startswith(('Umask', 'NoNewPrivs'))])"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert said == ["0o0", "Umask:", "0077", "NoNewPrivs:", "1"]
