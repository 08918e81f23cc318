"""Metadata of every shape through the gate, nginx-rtmp and the segmenter: all frames and samples must arrive."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from streamwave.receive.segmenter import Segmenter
from streamwave.spool.options import Options
from tests.matrix.flv import read_tags
from tests.support.media import ffmpeg_path, make_clip
from tests.support.metadata import Published, moved, shapes
from tests.support.ports import free_port
from tests.support.processes import wait_for
from tests.support.rtmp import AUDIO, VIDEO, Client, Sent, chunks
from tests.support.rtmp_part import Hooks, RtmpPart, hooks, rtmp_part
from tests.support.rtmp_server import playing
from tests.support.segmented import Spool, contiguous, read

FRAMES, CHUNK = 50, 4096
MEDIA = (AUDIO, VIDEO)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Published]]:
    path = tmp_path_factory.mktemp("clip") / "a.flv"
    return list(shapes(read_tags(make_clip(path, frames=FRAMES, gop=25, size="160x90", options=("-bf", "0")).path)))


def publish(part: RtmpPart, hook: Hooks, name: str, published: Published, folder: Path) -> Spool:
    """Publish while a segmenter already pulls, as in an installation; the received session."""
    address = f"rtmp://127.0.0.1:{part.internal_port}/live/{name}"
    segmenter = Segmenter(Options(source=address, spool=folder, live=True, segment_ms=1000, read_timeout_s=30))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(segmenter.run)
        wait_for(lambda: hook.count("play", name), f"the puller of {name}")
        with Client(part.port) as client:
            client.publish(name, size=CHUNK)
            with suppress(OSError):  # if it is disconnected, the missing frames show it
                client.send(b"".join(chunks(one, CHUNK) for one in published.sent))
                client.socket.shutdown(socket.SHUT_WR)
                client.closed()
        running.result(60)
    return read(folder)


def faults(spool: Spool, due: Published) -> list[str]:
    """What is wrong with a received session."""
    if spool.end is None or spool.end.error is not None or not spool.chunks:
        return [f"ended: {spool.end}"]
    found = []
    pictures = sum(chunk.pictures for chunk in spool.chunks)
    if pictures != (FRAMES if due.pictures else 0):
        found.append(f"{pictures} pictures")
    if due.pictures and spool.opened is not None and spool.opened.rate != 25:
        found.append(f"{spool.opened.rate} fps")
    try:
        contiguous(spool)
    except AssertionError as error:
        found.append(str(error))
    if abs(len(spool.sound()) - 2 * 48000 / 1024) > 3:
        found.append(f"{len(spool.sound())} AAC frames")
    return found


@pytest.fixture(scope="module")
def received(
    clip: list[tuple[str, Published]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, list[str]]]:
    folder = tmp_path_factory.mktemp("shapes")
    with hooks() as hook, rtmp_part(folder, hook.server_port) as part, ThreadPoolExecutor(8) as pool:
        found = {
            name: pool.submit(publish, part, hook, f"fuzz{number}", published, folder / f"{number}")
            for number, (name, published) in enumerate(clip)
        }
        yield {name: faults(found[name].result(), published) for name, published in clip}


def test_every_shape_of_metadata_is_survived(received: dict[str, list[str]]) -> None:
    assert {name: wrong for name, wrong in received.items() if wrong} == {}


#: Shapes that libavformat's RTMP client rejects before any other code sees them.
REFUSED = {"@setDataFrame alone", "no name", "only a number", "noise", "a name that is too long"}


def after_damage(sent: Sequence[Sent]) -> list[Sent]:
    """What a server sends to a client that reconnects: parameter sets, and the media since."""
    heads = [one for one in sent if one.kind in MEDIA and one.body[1] == 0]
    last = max((n for n, one in enumerate(sent) if one.kind not in MEDIA), default=0)
    return [*heads, *(one for one in sent[last:] if one.kind in MEDIA)]


def test_every_shape_from_a_server_is_survived(clip: list[tuple[str, Published]], tmp_path: Path) -> None:
    """Servers that are not ours forward the metadata of their publishers unchanged."""

    def pulled(number: int, published: Published) -> Spool:
        folder = tmp_path / str(number)
        with playing(published.sent, after_damage(published.sent)) as address:
            Segmenter(Options(source=address, spool=folder, live=True, segment_ms=1000, read_timeout_s=30)).run()
        return read(folder)

    with ThreadPoolExecutor(8) as pool:
        spools = list(pool.map(pulled, range(len(clip)), [published for _, published in clip]))
    found = {name: faults(spool, published) for spool, (name, published) in zip(spools, clip, strict=True)}
    assert {name: wrong for name, wrong in found.items() if wrong and name not in REFUSED} == {}
    for spool, (name, _) in zip(spools, clip, strict=True):
        assert spool.end is not None and (spool.end.error is not None) == (name in REFUSED)


# --- other servers ------------------------------------------------------------------------------------------------------

SECONDS, RATE, MOST_MS = 3, 25, 30_000
SAID = ("as usual", "none", "without @setDataFrame", "without @setDataFrame, as an object", "a string")
RELAYS = ("push", "push-copy", "push-off", "exec")
SERVERS = ("on", "copy", "off")
#: Such a server sends metadata without a name, which libavformat rejects.
NAMELESS = {("copy", name) for name in SAID if name.startswith("without")}


@contextmanager
def another_nginx(part: RtmpPart, hook: Hooks, folder: Path) -> Iterator[int]:
    """The port of a second nginx-rtmp, which forwards its publishes to the gate, or lets players pull them."""
    port, target = free_port(), f"rtmp://127.0.0.1:{part.port}/live"
    relayed = f"{ffmpeg_path()} -v error -i rtmp://127.0.0.1:{port}/exec/$name -c copy -f flv {target}/$name"
    said = {
        "push": f"push {target};",
        "push-copy": f"meta copy; push {target};",
        "push-off": f"meta off; push {target};",
    }
    said |= {"exec": f"exec {relayed};"} | {name: f"meta {name};" for name in SERVERS}
    applications = "\n".join(f"application {name} {{ live on; {rules} }}" for name, rules in said.items())
    (folder / "nginx.conf").write_text(
        f"""load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
        daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 128; }}
        rtmp {{ on_play http://127.0.0.1:{hook.server_port}/play-stream;
            server {{ listen 127.0.0.1:{port}; {applications} }} }}"""
    )
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert nginx
    running = subprocess.Popen([nginx, "-p", str(folder), "-c", "nginx.conf"], stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: (folder / "pid").exists(), "the second nginx")
        yield port
    finally:
        running.terminate()
        running.wait(60)


def test_relays_and_servers_of_others(tmp_path: Path) -> None:
    """Metadata of every shape, published to a stock nginx-rtmp that pushes, pushes through FFmpeg, or is pulled."""
    path = make_clip(tmp_path / "a.flv", frames=RATE * SECONDS, gop=RATE, size="160x90", options=("-bf", "0")).path
    published = dict(shapes(read_tags(path)))
    goes_on = [one for one in published["none"].sent if one.body[1] != 0]  # without parameter sets

    def through(number: int, application: str, said: str) -> Spool:
        name, folder = f"fuzz{number}", tmp_path / f"spool-{number}"
        pulled = f"{port}/{application}" if application in SERVERS else f"{part.internal_port}/live"
        source = f"rtmp://127.0.0.1:{pulled}/{name}"
        segmenter = Segmenter(Options(source=source, spool=folder, live=True, segment_ms=1000, read_timeout_s=10))
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(segmenter.run)
            wait_for(lambda: hook.count("play", name), f"the puller of {name}")
            with Client(port) as client:
                client.publish(name, application, size=CHUNK)
                begun = time.monotonic()
                for part_ms in range(0, MOST_MS, SECONDS * 1000):
                    for one in published[said].sent if not part_ms else goes_on:
                        sent_ms = one.time_ms + part_ms
                        time.sleep(max(0.0, sent_ms / 1000 - (time.monotonic() - begun)))
                        client.send(chunks(moved(one, sent_ms), CHUNK))
                    # FFmpeg may take longer to start than the clip lasts.
                    if application in SERVERS or read(folder).chunks:
                        break
                client.socket.shutdown(socket.SHUT_WR)
            running.result(60)
        return read(folder)

    with hooks() as hook, rtmp_part(tmp_path, hook.server_port) as part, another_nginx(part, hook, tmp_path) as port:
        cases = [(application, said) for application in RELAYS + SERVERS for said in SAID]
        with ThreadPoolExecutor(len(cases)) as pool:
            spools = list(pool.map(through, range(len(cases)), *zip(*cases, strict=True)))
    for (application, said), spool in zip(cases, spools, strict=True):
        case = f"{application}: {said}"
        assert spool.end is not None
        if (application, said) in NAMELESS:
            assert spool.end.error is not None and "set 'meta on'" in spool.end.error, case
            continue
        assert spool.end.error is None, f"{case}: {spool.end.error}"
        contiguous(spool)
        # A relay joins its own stream late, but loses nothing after the first keyframe that it receives.
        pictures = sum(chunk.pictures for chunk in spool.chunks)
        assert pictures >= RATE - 1 if application in RELAYS else pictures == SECONDS * RATE, case
