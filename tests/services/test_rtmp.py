"""RTMP through the gate and nginx-rtmp, with real publishers and pullers (FFmpeg, a second nginx-rtmp) and hooks."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.rtmp.server import RtmpSettings, render_config
from streamwave.errors import SettingsError
from tests.support.cli import ROOT
from tests.support.ports import free_port
from tests.support.processes import alive, wait_for
from tests.support.rtmp import Client, Sent, amf, chunks, commands, media
from tests.support.rtmp_part import (
    KEY,
    RATE,
    Hooks,
    RtmpPart,
    hooks,
    packets,
    publish_command,
    pull_command,
    rtmp_part,
)


@pytest.fixture(scope="module")
def hook() -> Iterator[Hooks]:
    with hooks() as server:
        yield server


@pytest.fixture(scope="module")
def part(hook: Hooks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RtmpPart]:
    with rtmp_part(tmp_path_factory.mktemp("rtmp"), hook.server_port) as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(hook: Hooks) -> None:
    hook.calls.clear()


def published(part: RtmpPart, hook: Hooks, stream: str, publisher: list[str], folder: Path) -> Path:
    """What a puller receives from a publisher."""
    pulled = folder / "pulled.flv"
    with subprocess.Popen(pull_command(part, stream, pulled), stdin=subprocess.DEVNULL) as puller:
        try:
            hook.wait_for("/play-stream", "play")  # otherwise the puller could miss the first frames
            with subprocess.Popen(publisher, stdin=subprocess.DEVNULL) as sender:
                try:
                    assert sender.wait(60) == 0
                finally:
                    sender.kill()
            # The puller ends by itself, at once.
            assert puller.wait(60) == 0
        finally:
            puller.kill()
    return pulled


def test_publish_pull_and_end(part: RtmpPart, hook: Hooks, tmp_path: Path) -> None:
    pulled = published(part, hook, "show", publish_command(part.port, KEY, 3), tmp_path)
    assert packets(pulled) == 3 * RATE
    assert hook.wait_for("/play-stream", "play")["name"] == "show"
    begun = hook.wait_for("/start-stream", "publish")
    assert (begun["app"], begun["name"]) == ("live", KEY)
    # nginx-rtmp renames the stream but keeps reporting the name that the publisher sent, so sessions must be
    # identified by client id. Updates arrive for pullers, too.
    for path, call in (("/update-stream", "update_publish"), ("/stop-stream", "publish_done")):
        told = hook.wait_for(path, call)
        assert (told["name"], told["clientid"]) == (KEY, begun["clientid"])
    assert KEY not in part.log.read_text()


def test_large_messages_of_enhanced_rtmp_pass_unchanged(part: RtmpPart, hook: Hooks, tmp_path: Path) -> None:
    """HEVC at 30 Mbit/s and Opus, as FFmpeg 9 sends them: only publisher and puller need to know these codecs."""
    import imageio_ffmpeg

    clip = tmp_path / "clip.mkv"
    noise = ["-f", "lavfi", "-i", "nullsrc=size=640x360:rate=25:duration=2,geq=random(1)*255:128:128"]
    encode = ["-c:v", "libx265", "-x265-params", "log-level=none:keyint=25", "-b:v", "30M", "-preset", "ultrafast"]
    tone = ["-f", "lavfi", "-i", "sine=sample_rate=48000:duration=2"]
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin"]
    subprocess.run([*ffmpeg, *noise, *tone, *encode, "-c:a", "libopus", str(clip)], check=True, timeout=120)
    address = f"rtmp://127.0.0.1:{part.port}/live/fuzzhevc"
    sender = [*ffmpeg, "-re", "-i", str(clip), "-c", "copy", "-f", "flv", address]
    pull = [ffmpeg[0], *pull_command(part, "fuzzhevc", tmp_path / "pulled.flv")[1:]]
    with subprocess.Popen(pull, stdin=subprocess.DEVNULL) as puller:
        try:
            hook.wait_for("/play-stream", "play")
            assert subprocess.run(sender, timeout=60).returncode == 0
            assert puller.wait(60) == 0
        finally:
            puller.kill()
    hashes = [
        subprocess.run([*ffmpeg, "-i", str(path), "-c", "copy", "-map", "0:v", "-f", "md5", "-"], capture_output=True)
        for path in (clip, tmp_path / "pulled.flv")
    ]
    assert hashes[0].stdout == hashes[1].stdout and hashes[0].stdout.startswith(b"MD5=")


def test_a_second_nginx_pushes(part: RtmpPart, hook: Hooks, tmp_path: Path) -> None:
    """nginx-rtmp as a relay sends media without waiting until its publish is accepted."""
    port = free_port()
    (tmp_path / "nginx.conf").write_text(
        f"""load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
        daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;
        events {{ worker_connections 64; }}
        rtmp {{ server {{ listen 127.0.0.1:{port}; application in {{ live on;
            push rtmp://127.0.0.1:{part.port}/live playpath=fuzzpush; }} }} }}"""
    )
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert nginx
    relay = subprocess.Popen([nginx, "-p", str(tmp_path), "-c", "nginx.conf"], stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: (tmp_path / "pid").exists(), "the relay")
        publisher = publish_command(port, "x", 4)
        publisher[-1] = f"rtmp://127.0.0.1:{port}/in/x"
        with subprocess.Popen(pull_command(part, "fuzzpush", tmp_path / "pulled.flv")) as puller:
            hook.wait_for("/play-stream", "play")
            assert subprocess.run(publisher, timeout=60).returncode == 0
            assert puller.wait(60) == 0
    finally:
        relay.terminate()
        relay.wait(60)
    # The relay joins its own stream late, but loses nothing after the first keyframe that it receives.
    assert packets(tmp_path / "pulled.flv") >= 3 * RATE


@pytest.mark.parametrize("flash", [False, True])
def test_publishers_of_flash(part: RtmpPart, hook: Hooks, flash: bool) -> None:
    """Commands in AMF0 and AMF3 messages; unknown commands are harmless."""
    name = f"fuzzflash{flash}"
    with Client(part.port, source="127.0.0.8") as client:
        client.greet()
        said = commands(name, flash=flash)
        said.insert(2, Sent(3, said[0].kind, amf("setPeerInfo", 9, None, {"a": [1, 2]})))
        client.send(b"".join(map(chunks, said)))
        begun = hook.wait_for("/start-stream", "publish")
        # The hook gets the address of the publisher, not that of the gate.
        assert (begun["name"], begun["addr"]) == (name, "127.0.0.8")
        client.send(b"".join(map(chunks, media())))
        hook.wait_for("/update-stream", "update_publish")
    hook.wait_for("/stop-stream", "publish_done")


def test_unknown_key_is_refused(part: RtmpPart, hook: Hooks) -> None:
    done = subprocess.run(publish_command(part.port, "guess", 3), capture_output=True, timeout=60)
    assert done.returncode != 0
    assert hook.wait_for("/start-stream", "publish")["name"] == "guess"


def test_nobody_plays_through_the_gate(part: RtmpPart, hook: Hooks) -> None:
    pull = ["ffmpeg", "-v", "error", "-nostdin", "-i", f"rtmp://127.0.0.1:{part.port}/live/show", "-f", "null", "-"]
    assert subprocess.run(pull, capture_output=True, timeout=60).returncode != 0
    assert hook.count("play") == 0  # those before may still tell of their end
    assert "an attempt to play" in part.log.read_text()


def test_nginx_that_dies_is_replaced_and_its_publishers_are_told(part: RtmpPart, hook: Hooks, tmp_path: Path) -> None:
    with subprocess.Popen(publish_command(part.port, KEY, 60), stdin=subprocess.DEVNULL, stderr=-3) as publisher:
        try:
            hook.wait_for("/update-stream", "update_publish")
            old, instance = part.nginx_pid, next(path for path, told in hook.calls if told["call"] == "publish")
            os.kill(old, 9)
            assert publisher.wait(60) != 0
        finally:
            publisher.kill()
    hook.calls.clear()
    assert subprocess.run(publish_command(part.port, KEY, 2), timeout=60).returncode == 0
    assert part.nginx_pid != old
    # Client ids start at 1 again, but the instance tells the hooks that the server is another one.
    asked = [path for path, fields in hook.calls if fields["call"] == "publish"]
    assert asked and instance not in asked


def test_hook_that_is_down_refuses(tmp_path: Path) -> None:
    with rtmp_part(tmp_path, free_port()) as part:
        assert subprocess.run(publish_command(part.port, KEY, 3), capture_output=True, timeout=60).returncode != 0


def test_it_ends_whole_and_keeps_its_secrets(hook: Hooks, tmp_path: Path) -> None:
    with rtmp_part(tmp_path, hook.server_port) as part:
        nginx, runtime = part.nginx_pid, tmp_path / "var" / "rtmp"
        # The URL of the hooks contains a token.
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (runtime, runtime / "nginx.conf")}
        assert modes == {"rtmp": 0o700, "nginx.conf": 0o600}
        assert "[warn]" not in part.log.read_text()
    assert not alive(nginx)
    with rtmp_part(tmp_path, hook.server_port) as part:
        nginx = part.nginx_pid
        os.kill(part.pid, 9)
        wait_for(lambda: not alive(nginx), "the end of nginx")
        assert part.process is not None
        part.process.wait(60)
        part.process = None


@pytest.mark.parametrize("taken", ["STREAMWAVE_RTMP_PORT", "STREAMWAVE_RTMP_INTERNAL_PORT"])
def test_a_port_that_is_taken(tmp_path: Path, taken: str) -> None:
    ports = {name: str(free_port()) for name in ("STREAMWAVE_RTMP_PORT", "STREAMWAVE_RTMP_INTERNAL_PORT")}
    env = {**os.environ, **ports, "STREAMWAVE_RTMP_HOST": "127.0.0.1", "STREAMWAVE_STATE_DIR": str(tmp_path)}
    with socket.create_server(("127.0.0.1", int(ports[taken]))):
        command = [sys.executable, "-m", "services.rtmp"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, env=env)
    assert done.returncode == SettingsError.exit_code
    told = done.stderr.splitlines()[-1]
    assert told.startswith("error: ") and ports[taken] in told


def test_configuration_is_accepted(tmp_path: Path) -> None:
    rtmp = RtmpSettings(19360, lambda: "http://127.0.0.1:8081/hooks/x/y", play_from=("127.0.0.1", "10.0.0.0/8"))
    text = render_config(rtmp)
    (tmp_path / "temp").mkdir()
    (tmp_path / "nginx.conf").write_text(text)
    command = ["nginx", "-t", "-p", f"{tmp_path}/", "-c", "nginx.conf", "-e", "stderr"]
    env = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr
    # The proxy in nginx answers updates while the service is down.
    assert "on_update http://127.0.0.3:19360/update-stream;" in text
    assert "proxy_pass http://127.0.0.1:8081/hooks/x/y/update-stream;" in text
    for hook in ("on_publish ", "on_publish_done ", "on_play "):
        assert f"{hook}http://127.0.0.1:8081/" in text


def test_module_not_installed(tmp_path: Path) -> None:
    import asyncio

    from services.rtmp.server import RtmpServer

    missing = RtmpSettings(free_port(), lambda: "http://127.0.0.1:9", module=tmp_path / "none.so")
    with pytest.raises(SettingsError, match="apt install libnginx-mod-rtmp"):
        asyncio.run(RtmpServer(missing, tmp_path).start())
