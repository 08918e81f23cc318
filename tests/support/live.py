"""A whole installation as ``streamwave up`` runs it, publishers for it, and what has to come out at the other end."""

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
from streamwave.ffmpeg.locate import locate
from streamwave.spool.broadcast import RUN_LOCK, BroadcastSpool, broadcasts
from streamwave.spool.journal import ChunkLine, JournalReader, writer_pid
from streamwave.state.prefect_auth import auth_string
from streamwave.streams.database import Database
from streamwave.streams.registry import Registry
from streamwave.timing import AAC_FRAME, Grid
from streamwave.util.locks import lock_holder
from tests.support.cli import Cli, copy_database
from tests.support.hosts import Host
from tests.support.media import Clip
from tests.support.player import MPD_NS, Representation, decode_pictures, decode_sound, representations
from tests.support.prefect_api import PrefectApi, basic
from tests.support.processes import MARK, kill, marked, wait_for

#: A publisher that comes back within this time continues its broadcast; every recording waits for it to pass.
RECONNECT_WINDOW_S = 3
#: The shortest that the setting allows: a chunk per second, so that short publishes have several.
SEGMENT_S = 1
READY_LIMIT_S = 120
END_LIMIT_S = 60
FINISH_LIMIT_S = 120
#: For everything else: only a test that fails waits for so long.
LIMIT_S = 60
#: Players and people are in sync if sound and picture are no further apart than this.
SYNC = Fraction(10, 1000)


class Installation:
    """``streamwave up`` in a folder of its own, on ports of its own; start it with ``start``, end it with ``close``.

    All its processes bear a mark in their environment; the publishers do not. ``host`` is where it runs; without it, here.
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
        # Its server would take ten seconds more to make a database.
        copy_database(prefect_home, self.cli.state / "prefect")
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.cli.environment.items():
                if name.startswith("STREAMWAVE_") or name == "OUTPUT_DIR":
                    patch.setenv(name, value)
            self.settings = Settings.load(env_file=None)
        self.prefect = PrefectApi(self.settings.prefect_url, auth_string(self.settings) or "")
        self.process: subprocess.Popen[bytes] | None = None
        self.publishers: list[subprocess.Popen[bytes]] = []

    # The installation as a whole.

    def start(self) -> float:
        """Start it and wait until it says that it is ready; the seconds that this took."""
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
        """End it by a signal, as Ctrl-C does; its exit code, and the seconds that it took."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(END_LIMIT_S)
        self.process = None
        return code, time.monotonic() - begun

    def close(self) -> None:
        """Kill whatever is left of it, and of the publishers."""
        for publisher in self.publishers:
            publisher.kill()
            publisher.wait(5)
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(END_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        for pid in {**self.processes(), **self.nginx()}:
            kill(pid)

    def processes(self, part: str = "") -> dict[int, str]:
        """Its living processes that have ``part`` in their command line, by pid."""
        found = {pid: " ".join(argv) for pid, argv in marked(self.cli.mark).items()}
        return {pid: argv for pid, argv in found.items() if part in argv}

    def nginx(self) -> dict[int, str]:
        """The processes of its nginx, which hides its environment behind its title; found by the log that they hold."""
        log = str(self.settings.state_dir / "nginx" / "error.log")
        return {pid: title for pid, title in _titles("nginx: ").items() if log in _open_files(pid)}

    def pid(self, part: str) -> int:
        """The one process that has ``part`` in its command line and is a child of ``up``."""
        assert self.process is not None
        found = [pid for pid in self.processes(part) if _parent(pid) == self.process.pid]
        assert len(found) == 1, (part, found)
        return found[0]

    def get(self, path: str) -> bytes | None:
        """An object from the media server; None if there is none."""
        url = f"http://127.0.0.1:{self.settings.media_port}/{path}"
        answer = httpx.get(url, timeout=30, trust_env=False)
        return answer.content if answer.status_code == 200 else None

    # Streams and publishers.

    def add_stream(self, name: str, title: str = "") -> str:
        """A new stream; its key."""
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
        """FFmpeg in the place of OBS: sends ``clip`` in real time, not encoding it again; killed at the end.

        ``loop``: over and over.
        """
        command = [locate().path, "-nostdin", "-hide_banner", "-v", "error", "-re"]
        command += [*(["-stream_loop", "-1"] if loop else []), "-i", str(clip.path), "-c", "copy"]
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
            process.wait(5)
            self.publishers.remove(process)

    def publish_whole(self, clip: Clip, key: str, *options: str) -> None:
        """Publish all of ``clip`` and leave."""
        with self.publish(clip, key, *options) as process:
            code = process.wait(float(clip.frames / clip.rate) + 60)
            assert code == 0, (self.folder / "publishers.log").read_text()[-2000:]

    # Broadcasts.

    def broadcast(self, stream: str, number: int = 0) -> BroadcastSpool:
        """The broadcast ``number`` of ``stream``, once its first session exists: its folder comes a moment earlier."""

        def found() -> BroadcastSpool | None:
            spools = broadcasts(self.settings.spool_dir, stream)[number : number + 1]
            # What is recorded whole has no sessions any more.
            return spools[0] if spools and (spools[0].sessions() or spools[0].finished) else None

        spool = wait_for(found, f"broadcast {number} of {stream}", LIMIT_S)
        assert spool
        return spool

    def finished(self, spool: BroadcastSpool) -> Path:
        """Wait until the recording is complete; the folder that holds it."""
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
        """Pictures of a session that the journal tells of."""
        lines = JournalReader(spool.sessions()[session]).read()
        return sum(line.chunk.pictures for line in lines if isinstance(line, ChunkLine))

    def segmenters(self, spool: BroadcastSpool) -> list[int]:
        """Processes that receive the broadcast."""
        return [pid for session in spool.sessions() if (pid := writer_pid(session)) is not None]

    def flow_runs(self, spool: BroadcastSpool) -> list[dict[str, Any]]:
        """What Prefect knows of the runs of a broadcast, newest first."""
        return self.prefect.flow_runs("live-stream", broadcast_spool=spool.info().spool or str(spool.folder))

    def set_state(self, flow_run_id: str, kind: str) -> None:
        """Ask Prefect for another state of a run, with what its UI sends."""
        body = {"state": {"type": kind, "name": kind.capitalize(), "message": "Set from the UI"}, "force": False}
        url = f"{self.prefect.url}/flow_runs/{flow_run_id}/set_state"
        answer = httpx.post(url, json=body, auth=basic(self.prefect.auth), timeout=20, trust_env=False)
        answer.raise_for_status()
        assert answer.json()["status"] == "ACCEPT", answer.text

    def leftovers(self) -> list[str]:
        """Files that have no business there once every broadcast is finished."""
        kept = {
            "opening.lock",  # one for the whole spool, for as long as there is one
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
        kept_by_nobody = (*spool, *wrong, *replicas, *self.cli.temporary.rglob("*"))
        return [str(path.relative_to(self.folder)) for path in kept_by_nobody]

    def resources(self) -> dict[str, tuple[int, int]]:
        """(threads, file descriptors) of each long-living process."""
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
    """All files in it; folders may go while they are listed."""
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
    """An installation that runs; nothing of it is left afterwards."""
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
    """The renditions of every period of a recording. Checks that the periods follow each other without a gap."""
    mpd = etree.fromstring((root / "manifest.mpd").read_bytes())
    elements = mpd.findall("mpd:Period", MPD_NS)
    return [representations(root, number) for number in range(len(elements))]


def period_starts_s(root: Path) -> list[float]:
    """Where every period begins, in seconds since the first one."""
    mpd = etree.fromstring((root / "manifest.mpd").read_bytes())
    starts = [period.attrib["start"] for period in mpd.findall("mpd:Period", MPD_NS)]
    return [float(start.removeprefix("PT").removesuffix("S")) for start in starts]


def picture_numbers(period: dict[str, Representation], rate: Fraction) -> list[int]:
    """The numbers that the pictures of a period bear: the same in all renditions, one per grid point from 0 on."""
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
    """The recording in ``root`` holds ``clips``, a period each: every picture once and in order, and all of the sound."""
    assert is_static(root)
    found = periods(root)
    assert len(found) == len(clips)
    for period, clip in zip(found, clips, strict=True):
        assert picture_numbers(period, clip.rate) == list(range(clip.frames))
        assert_sound(period, clip)


def assert_sound(period: dict[str, Representation], clip: Clip) -> None:
    """The sound of a period is as long as what was published, to an AAC frame, and in sync with the pictures."""
    sound = decode_sound(period["audio"].data)
    assert (sound.rate, sound.start) == (48000, 0)
    assert abs(len(sound.samples) - published_samples(clip)) <= AAC_FRAME
    beeps, flashes = sound.beeps(), clip.flashes()
    assert len(beeps) == len(flashes)
    assert max(abs(a - b) for a, b in zip(beeps, flashes, strict=True)) <= SYNC


def assert_ffmpeg_plays(root: Path) -> None:
    """FFmpeg decodes every rendition through both manifests, without a word."""
    for name in ("manifest.mpd", "master.m3u8"):
        # In its folder, because FFmpeg 5 resolves the addresses of a local manifest from there.
        command = [
            locate().path,
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
    """Samples that a publisher sends who does not encode the clip again.

    Whole AAC frames without the first one: that is the encoder's priming, and lies before the first picture. RTMP has
    nothing to say that the last frame is padded.
    """
    with av.open(str(clip.path)) as container:
        packets = sum(1 for packet in container.demux(audio=0) if packet.size)
    return (packets - 1) * AAC_FRAME


def status_warnings(spool: BroadcastSpool) -> list[str]:
    """What people are told about a broadcast."""
    found = spool.status().get("warnings")
    return [str(one) for one in found] if isinstance(found, list) else []


def listed(running: Installation) -> list[dict[str, Any]]:
    """The list of broadcasts that the player page shows."""
    data = running.get("media/broadcasts.json")
    return list(json.loads(data)["broadcasts"]) if data else []
