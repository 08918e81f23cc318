"""Checks that the machine has what StreamWave needs and that it works; each failed check says what to do."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text

from streamwave.cli.doctor_access import check_access, env_file_fault
from streamwave.cli.output import print_table
from streamwave.cli.shapes import CheckShape, DoctorDocument
from streamwave.cluster.cluster import check_workers
from streamwave.cluster.endpoint import endpoint_of
from streamwave.cluster.scheduler import NO_BOKEH, has_bokeh
from streamwave.config.fields import connectable
from streamwave.config.settings import Settings
from streamwave.errors import StreamWaveError
from streamwave.ffmpeg.locate import MINIMUM_VERSION, dotted, encoders, locate
from streamwave.pipeline.ladder import load_ladder
from streamwave.spool.quota import held_by_stream, usage
from streamwave.spool.remote.objects import check_spool
from streamwave.storage.outputs import OutputAddress
from streamwave.util.programs import ask
from streamwave.util.trust import program

Status = Literal["ok", "warn", "fail"]

MINIMUM_PYTHON = (3, 11)
NEEDED_ENCODERS = ("libx264", "aac")

#: Free disk space in bytes below which a check warns, and below which it fails.
LOW_SPACE, NO_SPACE = 5 * 10**9, 5 * 10**8

_STYLES: dict[Status, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True)
class Check:
    """The result of one check. ``fail``: nothing can be transcoded. ``warn``: some feature will not work."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


def run_checks(settings: Settings) -> list[Check]:
    """Run every check, in the order in which results should be read. Takes a few seconds and leaves nothing behind."""
    checks = [check_python(sys.version_info[:3]), *check_settings(settings), check_ladder(settings)]
    checks += check_ffmpeg(settings)
    checks += [check_nginx(), *check_ports(settings), *check_space(settings), *check_outputs(settings)]
    checks += check_remote_spool(settings)
    checks += [Check(*found) for found in check_access(settings)]
    return [*checks, *check_cluster(settings), check_prefect(settings.prefect_api_url)]


def load_settings() -> Settings:
    """Load the settings, without ``.env`` if that file is not trusted (``check_env_file`` reports it).

    Raises:
        SettingsError: a setting is invalid.
    """
    return Settings.load() if env_file_fault() is None else Settings.load(None)


def show_checks(checks: list[Check], console: Console) -> None:
    """Print the results as a table."""
    rows: list[list[str | Text]] = [
        [check.name, Text(check.status, style=_STYLES[check.status]), check.detail, check.remedy] for check in checks
    ]
    headings = ("check", "status", "what was found", "what to do")
    print_table(console, headings, rows, wraps=("check", "what was found", "what to do"))


def document(checks: list[Check]) -> DoctorDocument:
    """The results as a JSON document."""
    shapes = [CheckShape(name=one.name, status=one.status, detail=one.detail, remedy=one.remedy) for one in checks]
    return DoctorDocument(ok=all(one.status != "fail" for one in checks), checks=shapes)


def check_python(version: tuple[int, ...]) -> Check:
    """Check that the Python interpreter is new enough."""
    text = ".".join(map(str, version))
    if version[:2] < MINIMUM_PYTHON:
        return Check("Python", "fail", text, f"install Python {'.'.join(map(str, MINIMUM_PYTHON))} or newer")
    return Check("Python", "ok", f"{text} ({sys.executable})")


def check_settings(settings: Settings) -> Iterator[Check]:
    """Warn of environment variables that look like settings but are unknown."""
    for warning in settings.warnings:
        yield Check("settings", "warn", warning, "correct or remove it; docs/settings.md lists all names")


def check_ladder(settings: Settings) -> Check:
    """Check that the configured ladder, or the default one, can be read."""
    try:
        ladder = load_ladder(settings.ladder)
    except StreamWaveError as error:
        return Check(
            "ladder", "fail", _one_line(error), "correct STREAMWAVE_LADDER, or unset it for the default ladder"
        )
    return Check("ladder", "ok", ", ".join(rung.name for rung in ladder.rungs))


def check_ffmpeg(settings: Settings) -> Iterator[Check]:
    """Report which FFmpeg is used, and check that it has the encoders."""
    try:
        binary = locate(settings.ffmpeg_path)
    except StreamWaveError as error:
        found, _, remedy = str(error).rpartition(": ")
        yield Check("FFmpeg", "fail", found, remedy)
        return
    origin = {"FFMPEG_PATH": "from FFMPEG_PATH", "system": "the system's", "pip": "from the package imageio-ffmpeg"}
    yield Check("FFmpeg", "ok", f"{dotted(binary.version)}, {origin[binary.source]} ({binary.path})")
    missing = sorted(set(NEEDED_ENCODERS) - encoders(binary))
    if missing:
        remedy = f"use an FFmpeg {dotted(MINIMUM_VERSION)} or newer that was built with them (set FFMPEG_PATH)"
        yield Check("encoders", "fail", f"FFmpeg lacks {' and '.join(missing)}", remedy)
    else:
        yield Check("encoders", "ok", ", ".join(NEEDED_ENCODERS))


def check_nginx(search_path: str | None = None) -> Check:
    """Check nginx and its RTMP module, which only live streams need. ``search_path`` has the format of PATH."""
    name, install = "nginx-rtmp", "for live streams: apt-get install nginx-light libnginx-mod-rtmp"
    # Debian installs nginx in /usr/sbin, which is not in every user's PATH.
    nginx = shutil.which("nginx", path=search_path) if search_path else program("nginx", "/usr/sbin", "/sbin")
    if nginx is None:
        return Check(name, "warn", "nginx is not installed", install)
    built = ask(nginx, "-V")
    version = built.partition("nginx/")[2].split("\n")[0].strip()
    places = [Path(prefix) / "nginx/modules/ngx_rtmp_module.so" for prefix in ("/usr/lib", "/usr/lib64")]
    module = next((str(place) for place in places if place.is_file()), None)
    if module or "nginx-rtmp-module" in built:
        return Check(name, "ok", f"nginx {version}, {module or 'RTMP built in'}")
    return Check(name, "warn", f"nginx {version} has no RTMP module", install)


def check_ports(settings: Settings) -> Iterator[Check]:
    """Check that the ports of the live services are free."""
    ports = [
        ("RTMP", settings.rtmp_host, settings.rtmp_port, "STREAMWAVE_RTMP_PORT"),
        ("RTMP, internal", "127.0.0.1", settings.rtmp_internal_port, "STREAMWAVE_RTMP_INTERNAL_PORT"),
        ("ingest", settings.ingest_host, settings.ingest_port, "STREAMWAVE_INGEST_PORT"),
        ("processing", settings.grpc_host, settings.grpc_port, "STREAMWAVE_GRPC_PORT"),
        ("media", settings.media_host, settings.media_port, "STREAMWAVE_MEDIA_PORT"),
    ]
    for name, host, port, variable in ports:
        yield check_port(name, host, port, variable)


def check_port(name: str, host: str, port: int, variable: str) -> Check:
    """Check that ``host:port`` can be bound; ``variable`` is the setting of the port."""
    title = f"port {port} ({name})"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return Check(title, "warn", "in use", f"unless that is StreamWave itself, stop it or set {variable}")
        reason = error.strerror or str(error)
        return Check(
            title, "warn", f"cannot listen on {host}: {reason}", f"set {variable} or the corresponding host setting"
        )
    return Check(title, "ok", f"free on {host}")


def check_space(settings: Settings) -> Iterator[Check]:
    """Check the free disk space for the spool and for local outputs."""
    yield check_folder_space("space for the spool", settings.spool_dir, settings.spool_dir_variable)
    yield check_share_of_spool(settings)
    for target in settings.outputs:
        if target.is_local:
            yield check_folder_space("space for the output", Path(target.url), "OUTPUT_DIR")


def check_folder_space(
    name: str,
    folder: Path,
    variable: str,
    free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
) -> Check:
    """Check the free space of the filesystem that ``folder`` is on, or will be on once it is created."""
    # A folder that may not be read counts as missing; check_output tests whether it can be written.
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    free = free_bytes(there)
    detail, remedy = f"{free / 10**9:.1f} GB free for {folder}", f"free some space, or set {variable} to a larger disk"
    if free < NO_SPACE:
        return Check(name, "fail", detail, remedy)
    return Check(name, "warn", detail, remedy) if free < LOW_SPACE else Check(name, "ok", detail)


def check_share_of_spool(settings: Settings) -> Check:
    """Warn if a stream has used up its share of the spool, so that nothing more of it is received."""
    name, held = "spool in use", held_by_stream(settings.spool_dir)
    used = [usage(settings.spool_dir, stream, settings.stream_limits, held) for stream in held]
    full = [one.sentence(settings.spool_share_percent) for one in used if one.full]
    if full:
        return Check(
            name, "warn", "; ".join(full), "GET /status of the ingest service shows what these chunks wait for"
        )
    return Check(
        name, "ok", f"{sum(held.values()) / 1e9:.3g} of {float(settings.spool_max_gb):g} GB wait to be published"
    )


def check_outputs(settings: Settings) -> Iterator[Check]:
    """Check each output. Several outputs are numbered."""
    for number, target in enumerate(settings.outputs, 1):
        yield check_output(settings, target, "output" if len(settings.outputs) == 1 else f"output {number}")


def check_output(settings: Settings, target: OutputAddress | None = None, name: str = "output") -> Check:
    """Check that an output (default: the first one) stores an object, returns it unchanged and deletes it."""
    target = target or settings.outputs[0]
    remedy = "set OUTPUT_DIR to a location that this user may write to"
    if target.is_s3:
        remedy = "check S3_BUCKET, S3_REGION, STREAMWAVE_S3_ENDPOINT and the AWS credentials in the environment"
    try:
        target.open(settings.s3_options, quick=True).check()
    except StreamWaveError as error:
        return Check(name, "fail", _one_line(error), remedy)
    return Check(name, "ok", f"{target.url} can be written to")


def check_remote_spool(settings: Settings) -> Iterator[Check]:
    """Check that a spool in a store stores an object, returns it unchanged and deletes it."""
    if settings.spool_url is None:
        return
    try:
        check_spool(settings.spool_url, settings.spool_options)
    except StreamWaveError as error:
        remedy = "check STREAMWAVE_SPOOL_DIR, STREAMWAVE_S3_ENDPOINT and the AWS credentials in the environment"
        yield Check("spool", "fail", _one_line(error), remedy)
    else:
        yield Check("spool", "ok", f"{settings.spool_url} can be written to")


def check_cluster(settings: Settings) -> Iterator[Check]:
    """Check the scheduler and its workers, if there is one, and that Dask's dashboard can be shown."""
    if settings.task_runner:
        yield check_encoding(settings)
    if settings.dask_dashboard_port and not has_bokeh():
        yield Check("Dask's dashboard", "warn", *NO_BOKEH.split(": ", 1))


def check_encoding(settings: Settings) -> Check:
    """Check that the scheduler answers and has workers for this machine."""
    name = "workers"
    try:
        at, binary = endpoint_of(settings), locate(settings.ffmpeg_path)
        assert at is not None
        found = check_workers(at, binary.path)
    except StreamWaveError as error:
        what, _, remedy = _one_line(error).rpartition("; ")
        # ``streamwave up`` creates its key, and starts both.
        own = settings.task_runner == connectable(settings.scheduler)
        return Check(name, "warn", what or remedy, "start streamwave up") if own else Check(name, "fail", what, remedy)
    counts = f"{found.workers} with {found.slots} slots at {found.at}, of which {found.busy} are busy"
    detail = f"{counts}; {found.queued} chunks wait"
    if found.unusable:
        others = f"{detail}; not used, because their encoders differ: {', '.join(found.unusable)}"
        return Check(name, "warn", others, "install the same StreamWave and FFmpeg there")
    return Check(name, "ok", detail)


def check_prefect(api_url: str | None, timeout_s: float = 5) -> Check:
    """Check that the Prefect server at ``api_url`` answers, if one is configured."""
    if not api_url:
        return Check("Prefect", "ok", "PREFECT_API_URL is not set: each run starts a temporary server")
    remedy = "start it (prefect server start) or unset PREFECT_API_URL"
    try:
        with urllib.request.urlopen(f"{api_url.rstrip('/')}/health", timeout=timeout_s) as answer:
            answer.read(1024)
    except urllib.error.HTTPError as error:
        return Check("Prefect", "fail", f"{api_url} answers with HTTP status {error.code}", remedy)
    except (OSError, ValueError) as error:
        return Check("Prefect", "fail", f"{api_url} does not answer: {_one_line(error)}", remedy)
    return Check("Prefect", "ok", f"{api_url} answers")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error).split())
    return text[:200] or type(error).__name__
