"""How far the parameters of a run reach that came through Prefect's API, and that nothing stored there is executed."""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.caller import of_the_user
from flows.reach import check_ladder, check_output, check_spool, file_roots
from streamwave.config.settings import Settings
from streamwave.errors import OutputError, UsageError
from tests.support.cli import ROOT

S3 = "s3://tv/live"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("STREAMWAVE_STATE_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("OUTPUT_DIR", f"{tmp_path}/out,{S3}")
    monkeypatch.setenv("STREAMWAVE_ALLOWED_FILE_ROOTS", str(tmp_path / "films"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path)
    return Settings.load(env_file=None)


def test_outputs(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for allowed in (str(out), f"{out}/film", f"file://{out}/film", S3, f"{S3}/film", f"{out}/a,{S3}/a"):
        assert check_output(allowed, settings) == allowed
    assert check_output(None, settings) == settings.output_url
    elsewhere = json.dumps([{"url": f"{S3}/film", "endpoint": "https://evil.example"}])
    for other in (
        str(tmp_path),
        f"{out}2",
        f"{out}/../x",
        f"{out}/link/x",
        "s3://tv",
        f"{S3}2",
        "s3://evil/live",
        elsewhere,
    ):
        with pytest.raises((UsageError, OutputError)):
            check_output(other, settings)
        with pytest.raises((UsageError, OutputError)):
            check_output(f"{out}/a,{other}", settings)
    with of_the_user():
        assert check_output("/elsewhere", settings) == "/elsewhere"


def test_spools(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = settings.spool_dir / "cam" / "1"
    assert check_spool(str(spool), settings) == str(spool)
    for other in (str(tmp_path), f"{settings.spool_dir}/../x", "s3://tv/spool/cam/1", f"file://{tmp_path}/x"):
        with pytest.raises(UsageError, match="STREAMWAVE_SPOOL_DIR"):
            check_spool(other, settings)
    monkeypatch.setenv("STREAMWAVE_SPOOL_DIR", "s3://tv/spool")
    stored = Settings.load(env_file=None)
    assert check_spool("s3://tv/spool/cam/1", stored) == "s3://tv/spool/cam/1"
    for other in ("s3://tv/spool2/cam/1", "s3://tv/spool/../x/1", "s3://evil/spool/cam/1"):
        with pytest.raises(UsageError, match="STREAMWAVE_SPOOL_DIR"):
            check_spool(other, stored)
    with of_the_user():
        assert check_spool("/elsewhere", settings) == "/elsewhere"


def test_files(settings: Settings, tmp_path: Path) -> None:
    assert file_roots(settings) == (tmp_path / "films",)
    for allowed in (None, "720p,360p", '{"rungs": []}'):
        assert check_ladder(allowed) == allowed
    for other in ("/etc/shadow", "ladder.toml", " x.json "):
        with pytest.raises(UsageError, match="not a file"):
            check_ladder(other)
    with of_the_user():
        assert file_roots(settings) is None
        assert check_ladder("ladder.toml") == "ladder.toml"


class _Evil:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


READ = """
import sys
{load}
from prefect.client.schemas.objects import State
for text in sys.argv[1:]:
    try:
        State.model_validate_json(text).result(raise_on_failure=False, _sync=True)
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.mark.parametrize("load", ["", "import flows.live_stream", "import flows.vod"], ids=["prefect", "live", "vod"])
def test_what_a_state_says_is_stored_is_not_executed(tmp_path: Path, load: str) -> None:
    """Prefect alone executes it (the first case): the attack is one."""
    states, made = [], [tmp_path / "made by COMPLETED", tmp_path / "made by FAILED"]
    for path in made:
        stored, kind = path.with_suffix(".stored"), path.name.rpartition(" ")[2]
        evil = base64.encodebytes(pickle.dumps(_Evil(path))).decode()
        metadata = {"storage_key": str(stored), "serializer": {"type": "pickle", "picklelib": "pickle"}}
        stored.write_text(json.dumps({"metadata": {**metadata, "expiration": None}, "result": evil}))
        states.append(json.dumps({"type": kind, "data": {**metadata, "expiration": None}}))
    done = subprocess.run(
        [sys.executable, "-c", READ.format(load=load), *states],
        env={**os.environ, "PREFECT_HOME": str(tmp_path / "home")}, cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [path.exists() for path in made] == [load == ""] * 2, done.stdout
