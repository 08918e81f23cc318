"""The doctor's findings on machines that lack something, and that it leaves nothing behind."""

from __future__ import annotations

import http.server
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from streamwave.cli import doctor
from streamwave.config.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(None, state_dir=tmp_path / "var", output_dir=str(tmp_path / "deep" / "out"))


def program(path: Path, prints: str) -> str:
    """A program at ``path`` that prints one text, whatever it is asked."""
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{prints}\nEND\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def listen() -> socket.socket:
    """A socket that holds a port of the loopback interface."""
    return socket.create_server(("127.0.0.1", 0))


def test_this_machine_can_transcode_and_nothing_is_left_behind(settings: Settings, tmp_path: Path) -> None:
    checks = doctor.run_checks(settings)
    assert [check for check in checks if check.status == "fail"] == []
    assert {"Python", "FFmpeg", "encoders", "nginx-rtmp", "output", "Prefect"} <= {check.name for check in checks}
    assert list(tmp_path.iterdir()) == []


def test_a_ladder_that_cannot_be_used(settings: Settings, tmp_path: Path) -> None:
    wrong = settings.model_copy(update={"ladder": str(tmp_path / "none.toml")})
    (found,) = [check for check in doctor.run_checks(wrong) if check.name == "ladder"]
    assert found.status == "fail" and "none.toml cannot be read" in found.detail
    assert "STREAMWAVE_LADDER" in found.remedy
    (found,) = [check for check in doctor.run_checks(settings) if check.name == "ladder"]
    assert found == doctor.Check("ladder", "ok", "1080p, 720p, 480p, 360p")


def test_every_finding_that_is_not_ok_says_what_to_do(settings: Settings, tmp_path: Path) -> None:
    broken = settings.model_copy(
        update={
            "ffmpeg_path": str(tmp_path / "none"),
            "output_dir": "/proc/nothing",
            "prefect_api_url": "http://127.0.0.1:9",
        }
    )
    findings = [check for check in doctor.run_checks(broken) if check.status != "ok"]
    assert {"FFmpeg", "output", "Prefect"} <= {check.name for check in findings}
    assert all(check.remedy and "\n" not in check.detail + check.remedy for check in findings)


def test_an_old_python_fails() -> None:
    assert doctor.check_python((3, 10, 4)) == doctor.Check("Python", "fail", "3.10.4", "install Python 3.11 or newer")


def test_an_old_ffmpeg_fails_and_says_how_to_replace_it(settings: Settings, tmp_path: Path) -> None:
    old = program(tmp_path / "ffmpeg", "ffmpeg version 4.4.2-0ubuntu0 Copyright")
    (check,) = doctor.check_ffmpeg(settings.model_copy(update={"ffmpeg_path": old}))
    assert check.status == "fail"
    assert "FFmpeg 4.4" in check.detail
    assert check.remedy.startswith("install FFmpeg 5.1 or newer")


def test_missing_encoders_are_named(settings: Settings, tmp_path: Path) -> None:
    listing = "ffmpeg version 6.1 Copyright\n ------\n A....D aac    AAC\n V....D mpeg4  MPEG-4"
    lacking = program(tmp_path / "ffmpeg", listing)
    found, encoders = doctor.check_ffmpeg(settings.model_copy(update={"ffmpeg_path": lacking}))
    assert (found.status, encoders.status) == ("ok", "fail")
    assert encoders.detail == "FFmpeg lacks libx264"


def test_a_port_in_use_is_reported_with_the_setting_that_moves_it() -> None:
    with listen() as taken:
        port = taken.getsockname()[1]
        check = doctor.check_port("ingest", "127.0.0.1", port, "STREAMWAVE_INGEST_PORT")
    assert (check.status, check.detail) == ("warn", "in use")
    assert "STREAMWAVE_INGEST_PORT" in check.remedy
    assert doctor.check_port("ingest", "127.0.0.1", port, "STREAMWAVE_INGEST_PORT").status == "ok"


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    check = doctor.check_port("media", "192.0.2.1", 8080, "STREAMWAVE_MEDIA_PORT")
    assert check.status == "warn"
    assert "cannot listen on 192.0.2.1" in check.detail


@pytest.mark.parametrize(("free", "status"), [(10**8, "fail"), (10**9, "warn"), (10**10, "ok")])
def test_little_space_warns_and_none_fails(tmp_path: Path, free: int, status: str) -> None:
    check = doctor.check_folder_space("space", tmp_path / "not" / "made", "OUTPUT_DIR", lambda _: free)
    assert check.status == status
    assert f"{free / 10**9:.1f} GB" in check.detail


def test_an_output_below_a_file_fails_in_one_line(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    check = doctor.check_output(settings.model_copy(update={"output_dir": str(tmp_path / "file" / "out")}))
    assert check.status == "fail"
    assert "cannot be written" in check.detail and "a file is in the way" in check.detail
    assert "\n" not in check.detail


def test_the_output_is_really_written_and_emptied_again(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    check = doctor.check_output(settings.model_copy(update={"output_dir": str(tmp_path / "kept" / "new")}))
    assert check.status == "ok"
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]


def test_a_store_whose_library_is_not_installed_fails(settings: Settings) -> None:
    check = doctor.check_output(settings.model_copy(update={"output_dir": "gs://bucket"}))
    assert (check.status, check.name) == ("fail", "output")


def test_every_output_is_checked(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    several = settings.model_copy(update={"output_dir": f"{tmp_path}/out,{tmp_path}/file,memory://x"})
    found = {check.name: check.status for check in doctor.run_checks(several) if check.name.startswith("output")}
    assert found == {"output 1": "ok", "output 2": "fail", "output 3": "ok"}
    spaces = [check for check in doctor.run_checks(several) if check.name == "space for the output"]
    assert len(spaces) == 2


class _Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def health_server() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(60)


def test_prefect_answers(health_server: str) -> None:
    assert doctor.check_prefect(f"{health_server}/api").status == "ok"
    wrong = doctor.check_prefect(health_server)
    assert (wrong.status, wrong.detail) == ("fail", f"{health_server} answers with HTTP status 404")


def test_prefect_does_not_answer() -> None:
    with listen() as reserved:
        address = f"http://127.0.0.1:{reserved.getsockname()[1]}/api"
    check = doctor.check_prefect(address, timeout_s=1)
    assert check.status == "fail"
    assert "does not answer" in check.detail


def test_misspelt_settings_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMWAVE_CFR", "20")
    (check,) = doctor.check_settings(Settings.load(None))
    assert check.status == "warn"
    assert "did you mean STREAMWAVE_CRF" in check.detail


def test_no_nginx_is_only_a_warning(tmp_path: Path) -> None:
    check = doctor.check_nginx(str(tmp_path))
    assert (check.status, check.detail) == ("warn", "nginx is not installed")
    assert "apt-get install" in check.remedy


def test_the_table_shows_every_word(settings: Settings) -> None:
    checks = [
        doctor.Check("port 1 (x)", "warn", "held by [bold]something[/bold]", "move it"),
        doctor.Check("b", "ok", "c"),
    ]
    with open(os.devnull, "w") as nowhere:
        console = Console(width=200, record=True, file=nowhere)
        doctor.show_checks(checks, console)
    text = console.export_text()
    for word in ("port 1 (x)", "warn", "held by [bold]something[/bold]", "move it", "ok"):
        assert word in text


def test_a_folder_that_cannot_be_looked_into_ends_no_check(tmp_path: Path) -> None:
    """Nor one whose name is too long, for which the system refuses to say whether it is there."""
    folder = tmp_path / ("a" * 300)
    assert doctor.check_folder_space("space", folder, "OUTPUT_DIR", lambda path: 10**12).status == "ok"
    check = doctor.check_output(Settings.load(env_file=None, output_dir=str(folder)))
    assert check.status == "fail"


def test_a_stream_that_has_filled_its_share_of_the_spool(settings: Settings) -> None:
    chunk = settings.spool_dir / "greedy" / "1" / "000000" / "000000.mkv"
    chunk.parent.mkdir(parents=True)
    with chunk.open("wb") as file:
        file.truncate(12 * 10**9)  # a hole, which takes no space
    found = doctor.check_share_of_spool(settings)
    assert found.status == "warn" and found.detail.startswith("greedy has 12 GB of chunks") and found.remedy
    with chunk.open("wb") as file:
        file.truncate(10**6)
    assert doctor.check_share_of_spool(settings).detail == "0.001 of 20 GB wait to be published"
