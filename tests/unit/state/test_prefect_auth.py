"""What Prefect's server asks for: generated for ours and kept from others, the user's own where there is one."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streamwave.config.settings import Settings
from streamwave.errors import SettingsError
from streamwave.state.prefect_auth import FILE, auth_string, client_environment


def load(monkeypatch: pytest.MonkeyPatch, folder: Path, **variables: str) -> Settings:
    for name, value in {"STREAMWAVE_STATE_DIR": str(folder), **variables}.items():
        monkeypatch.setenv(name, value)
    return Settings.load(env_file=None)


def test_ours_is_made_once_and_for_its_owner_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings, modes = load(monkeypatch, tmp_path), list[int]()
    opened = os.open

    def watched(path: str, flags: int, mode: int = 0o777, **more: int) -> int:
        descriptor = opened(path, flags, mode, **more)
        if flags & os.O_CREAT:
            modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(0)
    try:
        with ThreadPoolExecutor(8) as threads:
            (found,) = set(threads.map(lambda _: auth_string(settings), range(32)))
    finally:
        os.umask(before)
    assert found is not None and found.startswith("streamwave:") and len(found) > 40
    assert set(modes) == {0o600}
    assert [path.name for path in settings.prefect_home.iterdir()] == [FILE]
    file = settings.prefect_home / FILE
    file.chmod(0o644)
    assert auth_string(settings) == found and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert client_environment(settings) == {
        "PREFECT_API_URL": "http://127.0.0.1:4200/api",
        "PREFECT_API_AUTH_STRING": found,
    }
    assert found not in repr(settings)


@pytest.mark.parametrize("name", ["PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"])
def test_what_the_user_has_set_is_what_our_server_asks_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    assert auth_string(load(monkeypatch, tmp_path, **{name: "me:mine"})) == "me:mine"
    assert not list(tmp_path.rglob("*"))


def test_two_that_differ_are_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = load(monkeypatch, tmp_path, PREFECT_API_AUTH_STRING="a:b", PREFECT_SERVER_API_AUTH_STRING="a:c")
    with pytest.raises(SettingsError, match="differ") as raised:
        auth_string(settings)
    assert "a:b" not in str(raised.value)


def test_nothing_is_made_for_a_server_that_is_not_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = "https://prefect.example/api"
    assert client_environment(load(monkeypatch, tmp_path, PREFECT_API_URL=url)) == {"PREFECT_API_URL": url}
    settings = load(monkeypatch, tmp_path, PREFECT_API_AUTH_STRING="a:b")
    assert client_environment(settings) == {"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": "a:b"}
    assert not list(tmp_path.rglob("*"))
