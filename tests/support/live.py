"""A whole installation run by ``streamwave up``, publishers for it, and checks of its recordings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from lxml import etree

from streamwave.config.settings import Settings
from streamwave.spool.broadcast import RUN_LOCK, BroadcastSpool, broadcasts
from streamwave.spool.journal import ChunkLine, JournalReader, writer_pid
from streamwave.state.prefect_auth import auth_string
from streamwave.streams.database import Database
from streamwave.streams.registry import Registry
from streamwave.timing import AAC_FRAME, Grid
from streamwave.util.locks import lock_holder
from tests.support.cli import Cli, copy_database
from tests.support.hosts import Host
from tests.support.http import LOCAL
from tests.support.media import Clip, ffmpeg_path
from tests.support.player import MPD_NS, Representation, decode_pictures, decode_sound, representations
from tests.support.prefect_api import PrefectApi, basic
from tests.support.processes import MARK, kill, marked, wait_for

#: A publisher that reconnects within this time continues its broadcast; every recording is completed only after it.
RECONNECT_WINDOW_S = 5
#: The minimum of the setting: one chunk per second, so that short publishes have several.
SEGMENT_S = 1
READY_LIMIT_S = 200
END_LIMIT_S = 60
FINISH_LIMIT_S = 200
#: Time-out for everything else; only a failing test waits this long.
LIMIT_S = 120
#: Audio and video count as in sync up to this difference.
SYNC = Fraction(10, 1000)


class Installation:
    """``streamwave up`` with its own folder and ports; start it with ``start``, and end it with ``close``.

    All its processes have a mark in their environment; the publishers do not. ``host`` is where it runs; default: here.
    With PREFECT_API_URL among the ``variables`` it uses that server and starts none.
    """

    def __init__(self, folder: Path, prefect_home: Path, host: Host | None = None, /, **variables: str) -> None:
        self.folder, self.log, self.host = folder, folder / "up.log", host
        self.cli = Cli(
            folder,
            {
                "OUTPUT_DIR": str(folder / "out"),
                "STREAMWAVE_MEDIA_HOST": "127.0.0.1",
                "STREAMWAVE_RTMP_HOST": "127.0.0.1",
                "STREAMWAVE_SEGMENT_SECONDS": str(SEGMENT_S),
                "STREAMWAVE_RECONNECT_WINDOW_S": str(RECONNECT_WINDOW_S),
                **variables,
            },
        )
        if "PREFECT_API_URL" not in variables:
            # Creating a database would take the server ten more seconds.
            copy_database(prefect_home, self.cli.state / "prefect")
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.cli.environment.items():
                if name.startswith(("STREAMWAVE_", "PREFECT_")) or name == "OUTPUT_DIR":
                    patch.setenv(name, value)
            self.settings = Settings.load(env_file=None)
        self.prefect = PrefectApi(self.settings.prefect_url, auth_string(self.settings) or "")
        self.process: subprocess.Popen[bytes] | None = None
        self.publishers: list[subprocess.Popen[bytes]] = []

    # The installation as a whole.

    def start(self) -> float:
        """Start it and wait until it reports that it is ready. Returns the seconds that this took."""
        begun = time.monotonic()
        with self.log.open("ab") as log:
            said = log.tell()
            command = [str(self.cli.programs / "streamwave"), "up"]
            self.process = subprocess.Popen(
                self.host.command(*command) if self.host else command,
                cwd=self.folder,
                env={**self.cli.environment, MARK: self.cli.mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_default_interrupt,
            )
        wait_for(lambda: self._says_ready(said), f"streamwave up to be ready; see {self.log}", READY_LIMIT_S)
        return time.monotonic() - begun

    def _says_ready(self, since: int) -> bool:
        said = self.log.read_bytes()[since:]
        assert self.process is not None
        assert self.process.poll() is None, said.decode()[-3000:]
        return b"ready after" in said

    def stop(self, number: int = signal.SIGINT) -> tuple[int, float]:
        """Stop it with a signal, as Ctrl-C does. Returns its exit code and the seconds that this took."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(END_LIMIT_S)
        self.process = None
        return code, time.monotonic() - begun

    def close(self) -> None:
        """Kill all remaining processes of the installation and the publishers."""
        for publisher in self.publishers:
            publisher.kill()
            publisher.wait(60)
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(END_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(60)
        for pid in {**self.processes(), **self.nginx()}:
            kill(pid)

    def processes(self, part: str = "") -> dict[int, str]:
        """Command lines, by PID, of its running processes that have ``part`` in them."""
        found = {pid: " ".join(argv) for pid, argv in marked(self.cli.mark).items()}
        return {pid: argv for pid, argv in found.items() if part in argv}

    def nginx(self) -> dict[int, str]:
        """PIDs of its nginx processes, found by the log that they have open, because nginx overwrites its environment."""
        log = str(self.settings.state_dir / "nginx" / "error.log")
        return {pid: title for pid, title in _titles("nginx: ").items() if log in _open_files(pid)}

    def pid(self, part: str) -> int:
        """PID of the only child of ``up`` that has ``part`` in its command line."""
        assert self.process is not None
        found = [pid for pid in self.processes(part) if _parent(pid) == self.process.pid]
        assert len(found) == 1, (part, found)
        return found[0]

    def get(self, path: str) -> bytes | None:
        """An object from the media server; None if it does not exist."""
        url = f"http://127.0.0.1:{self.settings.media_port}/{path}"
        answer = httpx.get(url, timeout=60, **LOCAL)
        return answer.content if answer.status_code == 200 else None

    # Streams and publishers.

    def add_stream(self, name: str, title: str = "") -> str:
        """Add a stream and return its key."""
        database = Database.open(self.settings)
        try:
            return Registry(database).add(name, title)[1]
        finally:
            database.close()

    def address(self, key: str) -> str:
        """What to enter in OBS."""
        return f"rtmp://127.0.0.1:{self.settings.rtmp_port}/live/{key}"

    @contextmanager
    def publish(self, clip: Clip, key: str, *options: str, loop: bool = False) -> Iterator[subprocess.Popen[bytes]]:
        """FFmpeg in place of OBS: publishes ``clip`` in real time without re-encoding; killed at the end.

        ``loop``: repeat the clip.
        """
        command = [ffmpeg_path(), "-nostdin", "-hide_banner", "-v", "error"]
        if loop:  # pictures and sound from an input each: together they would begin anew when the longer of them ends
            command += ["-re", "-stream_loop", "-1", "-i", str(clip.path)] * 2 + ["-map", "0:v", "-map", "1:a"]
        else:
            command += ["-re", "-i", str(clip.path)]
        command += ["-c", "copy"]
        log = self.folder / "publishers.log"
        with log.open("ab") as errors:
            process = subprocess.Popen(
                [*command, *options, "-f", "flv", self.address(key)], stdin=subprocess.DEVNULL, stderr=errors
            )
        self.publishers.append(process)
        try:
            yield process
        finally:
            process.kill()
            process.wait(60)
            self.publishers.remove(process)

    def publish_whole(self, clip: Clip, key: str, *options: str) -> None:
        """Publish ``clip`` completely and disconnect."""
        with self.publish(clip, key, *options) as process:
            code = process.wait(float(clip.frames / clip.rate) + 60)
            assert code == 0, (self.folder / "publishers.log").read_text()[-2000:]

    # Broadcasts.

    def broadcast(self, stream: str, number: int = 0) -> BroadcastSpool:
        """The broadcast ``number`` of ``stream``, once its first session exists: its folder comes a moment earlier."""

        def found() -> BroadcastSpool | None:
            spools = broadcasts(self.settings.spool_dir, stream)[number : number + 1]
            # A completed recording has no session folders any more.
            return spools[0] if spools and (spools[0].sessions() or spools[0].finished) else None

        spool = wait_for(found, f"broadcast {number} of {stream}", LIMIT_S)
        assert spool
        return spool

    def finished(self, spool: BroadcastSpool) -> Path:
        """Wait until the recording is complete, and return its folder."""
        wait_for(
            lambda: spool.finished, f"the recording of {spool.stream}; its status is {spool.status()}", FINISH_LIMIT_S
        )
        return self.root(spool)

    def root(self, spool: BroadcastSpool) -> Path:
        """Where a broadcast is published."""
        return Path(spool.info().output)

    def published_chunks(self, spool: BroadcastSpool, count: int) -> None:
        """Wait until ``count`` chunks of the current run are published."""

        def chunks() -> bool:
            found = spool.status().get("chunks")
            return isinstance(found, int) and found >= count

        wait_for(chunks, f"{count} chunks of {spool.stream}, its status is {spool.status()}", LIMIT_S)

    def run_pid(self, spool: BroadcastSpool, other_than: int = 0, timeout_s: float = LIMIT_S) -> int:
        """The process of the flow run that publishes the broadcast, once there is one."""

        def found() -> int:
            pid = lock_holder(spool.folder / RUN_LOCK)
            return pid if pid and pid != other_than and spool.status().get("state") == "live" else 0

        return wait_for(found, f"the flow run of {spool.stream}", timeout_s)

    def received(self, spool: BroadcastSpool, session: int = 0) -> int:
        """Number of video frames in the journal of a session."""
        lines = JournalReader(spool.sessions()[session]).read()
        return sum(line.chunk.pictures for line in lines if isinstance(line, ChunkLine))

    def segmenters(self, spool: BroadcastSpool) -> list[int]:
        """Processes that receive the broadcast."""
        return [pid for session in spool.sessions() if (pid := writer_pid(session)) is not None]

    def flow_runs(self, spool: BroadcastSpool) -> list[dict[str, Any]]:
        """The flow runs of a broadcast, newest first."""
        return self.prefect.flow_runs("live-stream", broadcast_spool=spool.info().spool or str(spool.folder))

    def set_state(self, flow_run_id: str, kind: str) -> None:
        """Set the state of a run through Prefect's API, with the request that its UI sends."""
        body = {"state": {"type": kind, "name": kind.capitalize(), "message": "Set from the UI"}, "force": False}
        url = f"{self.prefect.url}/flow_runs/{flow_run_id}/set_state"
        answer = httpx.post(url, json=body, auth=basic(self.prefect.auth), timeout=60, **LOCAL)
        answer.raise_for_status()
        assert answer.json()["status"] == "ACCEPT", answer.text

    def leftovers(self) -> list[str]:
        """Files that must not exist once every broadcast is finished."""
        kept = {
            "opening.lock",  # exists as long as the spool
            "broadcast.json",
            "finished",
            "closed",
            "lock",
            "run.lock",
            "status.json",
            "run.json",
            "run.log",
            "metadata.json",
            "exchange.lock",
            "cleared",
        }
        spool = [path for path in files_below(self.settings.spool_dir) if path.name not in kept]
        published = {".m4s", ".mp4", ".m3u8", ".mpd", ".jsonl", ".json", ".jpg"}
        out = files_below(self.folder / "out")
        wrong = [path for path in out if path.suffix not in published or path.name.startswith(".")]
        replicas = (self.settings.state_dir / "replica").glob("*")
        kept_by_nobody = (*spool, *wrong, *replicas, *files_below(self.cli.temporary), *self.cli.temporary.glob("*"))
        return [str(path.relative_to(self.folder)) for path in kept_by_nobody]

    def resources(self) -> dict[str, tuple[int, int]]:
        """(threads, file descriptors) of each long-running process."""
        assert self.process is not None
        parts = {"up": self.process.pid}
        for part in ("services.processing", "services.ingest", "services.rtmp", "services.media", "prefect_app"):
            parts[part] = self.pid(part)
        (parts["nginx"],) = (pid for pid, argv in self.nginx().items() if "worker" in argv)
        return {
            name: (len(os.listdir(f"/proc/{pid}/task")), len(os.listdir(f"/proc/{pid}/fd")))
            for name, pid in parts.items()
        }


def files_below(folder: Path) -> list[Path]:
    """All files in a folder, whose subfolders may be deleted meanwhile."""
    return [Path(root, name) for root, _, names in os.walk(folder) for name in names]


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _titles(prefix: str) -> dict[int, str]:
    """Processes whose title begins with ``prefix``."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                if title.startswith(prefix):
                    found[int(folder.name)] = title
    return found


def _open_files(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


@contextmanager
def installation(
    folder: Path, prefect_home: Path, host: Host | None = None, /, **variables: str
) -> Iterator[Installation]:
    """A running installation, which is removed afterwards."""
    running = Installation(folder, prefect_home, host, **variables)
    try:
        running.start()
        yield running
    finally:
        running.close()


def is_static(root: Path) -> bool:
    """Whether the manifest is that of a recording."""
    mpd = etree.fromstring((root / "manifest.mpd").read_bytes())
    return mpd.get("type") == "static" and mpd.get("minimumUpdatePeriod") is None


def periods(root: Path) -> list[dict[str, Representation]]:
    """The renditions of every period of a recording. Checks that the periods are contiguous."""
    mpd = etree.fromstring((root / "manifest.mpd").read_bytes())
    elements = mpd.findall("mpd:Period", MPD_NS)
    return [representations(root, number) for number in range(len(elements))]


def period_starts_s(root: Path) -> list[float]:
    """Where every period begins, in seconds since the first one."""
    mpd = etree.fromstring((root / "manifest.mpd").read_bytes())
    starts = [period.attrib["start"] for period in mpd.findall("mpd:Period", MPD_NS)]
    return [float(start.removeprefix("PT").removesuffix("S")) for start in starts]


def picture_numbers(period: dict[str, Representation], rate: Fraction) -> list[int]:
    """The frame numbers in a period, which must be the same in all renditions, with one frame per grid point from 0 on."""
    grid = Grid(rate)
    videos = [one for one in period.values() if one.kind == "video"]
    assert {video.name for video in videos} == {"large", "small"}
    found: list[list[int]] = []
    for video in videos:
        pictures = decode_pictures(video.data, grid.timescale)
        assert [p.time for p in pictures] == [grid.ticks(n) for n in range(len(pictures))], video.name
        found.append([p.number for p in pictures])
    assert found[0] == found[1]
    return found[0]


def assert_exact(root: Path, clips: Sequence[Clip]) -> None:
    """Check that the recording in ``root`` contains ``clips``, one per period: every frame once and in order, and all audio."""
    assert is_static(root)
    found = periods(root)
    assert len(found) == len(clips)
    for period, clip in zip(found, clips, strict=True):
        assert picture_numbers(period, clip.rate) == list(range(clip.frames))
        assert_sound(period, clip)


def assert_sound(period: dict[str, Representation], clip: Clip) -> None:
    """Check that the audio of a period has the published length within one AAC frame, and is in sync with the video."""
    sound = decode_sound(period["audio"].data)
    assert (sound.rate, sound.start) == (48000, 0)
    assert abs(len(sound.samples) - published_samples(clip)) <= AAC_FRAME
    beeps, flashes = sound.beeps(), clip.flashes()
    assert len(beeps) == len(flashes)
    assert max(abs(a - b) for a, b in zip(beeps, flashes, strict=True)) <= SYNC


def assert_ffmpeg_plays(root: Path) -> None:
    """Check that FFmpeg decodes every rendition through both manifests without a message."""
    for name in ("manifest.mpd", "master.m3u8"):
        # In its folder, because FFmpeg 5 resolves the addresses of a local manifest from there.
        command = [
            ffmpeg_path(),
            "-nostdin",
            "-hide_banner",
            "-v",
            "warning",
            "-i",
            name,
            "-map",
            "0",
            "-f",
            "null",
            "-",
        ]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), root / name


def published_samples(clip: Clip) -> int:
    """Number of audio samples sent by a publisher that does not re-encode the clip.

    Whole AAC frames without the first one, which is the encoder's priming and precedes the first video frame. RTMP cannot
    signal that the last frame is padded.
    """
    with av.open(str(clip.path)) as container:
        packets = sum(1 for packet in container.demux(audio=0) if packet.size)
    return (packets - 1) * AAC_FRAME


def status_warnings(spool: BroadcastSpool) -> list[str]:
    """The warnings in the status of a broadcast."""
    found = spool.status().get("warnings")
    return [str(one) for one in found] if isinstance(found, list) else []


def listed(running: Installation) -> list[dict[str, Any]]:
    """The list of broadcasts that the player page shows."""
    data = running.get("media/broadcasts.json")
    return list(json.loads(data)["broadcasts"]) if data else []
