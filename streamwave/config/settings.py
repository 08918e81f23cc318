"""Settings, read from the environment, then from `.env` in the working directory; otherwise the default applies.

Settings that the original project had (``USE_S3``, ``OUTPUT_DIR``, …) keep their names; all others begin with ``STREAMWAVE_``.
``python -m streamwave.config.docs`` generates docs/settings.md and .env.example from this package.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, PrivateAttr, SecretStr, ValidationError, model_validator
from pydantic_settings import SettingsConfigDict

from streamwave.config.faults import describe_fault, unknown_variables
from streamwave.config.fields import (
    PREFIX,
    Folder,
    LogLevel,
    Passthrough,
    Port,
    Preset,
    connectable,
    setting,
    to_lower,
    to_place,
)  # fmt: skip
from streamwave.config.live import LiveSettings
from streamwave.errors import SettingsError, UsageError
from streamwave.storage.address import check_address, is_address, shown_address
from streamwave.storage.outputs import OutputAddress, normal_place
from streamwave.untrusted import to_fraction
from streamwave.util import trust
from streamwave.util.trust import ENV_FILE


class Settings(LiveSettings):
    """All settings, one field each. Immutable, with absolute folders; created by ``load``."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        arbitrary_types_allowed=True,
    )

    log_level: Annotated[LogLevel, BeforeValidator(to_lower)] = setting(
        "General", "How much is logged. `debug` also logs every FFmpeg command line.", "info"
    )
    env_file: str | None = setting(
        "General",
        "Only from the environment: a settings file to read instead of `.env` in the working directory. If empty, none "
        "is read. `.env` itself is refused if it or its folder belongs to another user or is writable by others.",
        kind="the path of a file",
    )
    state_dir: Folder = setting(
        "General",
        "Folder for everything that must survive a restart: databases, spool, Prefect's home.",
        Path("var"),
        kind="a folder",
    )

    segment_seconds: Annotated[Fraction, BeforeValidator(to_fraction)] = setting(
        "Encoding",
        "Minimum length of a chunk and usual length of a segment. Shorter means lower latency, but more requests and "
        "bits. A chunk ends at the first keyframe after this time, so rare keyframes make longer chunks.",
        Fraction(2),
        unit="s",
        ge=1,
        le=10,
        kind="a number, also as a fraction (`1001/500`)",
    )
    audio_track: int | None = setting(
        "Encoding",
        "Which of a source's audio tracks is used, counted from 1. If not set, or if a source has fewer, the first one that "
        "can be decoded is used.",
        None,
        ge=1,
        le=64,
    )
    ladder: str | None = setting(
        "Encoding",
        "Renditions: names from the default ladder (`720p,360p`), the path of a `.toml` or `.json` file, or inline JSON "
        "that replaces the ladder. If not set: 1080p, 720p, 480p, 360p and audio. Never above the source.",
        kind="names, a file or JSON",
    )
    passthrough: Passthrough = setting(
        "Encoding",
        "Whether the source's own video can be the top rendition without being encoded again. `auto`: if it is H.264 "
        "that every player supports, has the size of a rung, is within its bit rate, and has keyframes that segments can "
        "begin at. See docs/decisions/0008-passthrough.md.",
        "auto",
    )
    preset: Preset = setting(
        "Encoding", "x264's preset. Slower presets need fewer bits for the same quality and more CPU time.", "superfast"
    )
    crf: int = setting(
        "Encoding",
        "x264's constant rate factor, capped by each rendition's maximum bit rate. Lower means better quality and more "
        "bits.",
        23,
        ge=0,
        le=51,
    )
    encoder_threads: int = setting(
        "Encoding",
        "Threads of each encoder and decoder. With 1, encoding a chunk again produces the same bytes. With more, the "
        "bytes depend on thread timing when x264 runs at its maximum bit rate, or when the decoder meets a damaged "
        "source. 0: 1 for files, and 2 for live streams, where a chunk is needed soon.",
        0,
        ge=0,
        le=64,
    )

    ffmpeg_slots: int = setting(
        "Work",
        "Maximum number of FFmpeg processes at the same time on this machine. 0: one per core.",
        0,
        ge=0,
        le=1024,
    )
    ffmpeg_timeout_s: int = setting(
        "Work",
        "An FFmpeg process that works on one chunk for longer is killed, and the chunk is retried.",
        600,
        unit="s",
        ge=1,
        le=86400,
    )
    chunk_retries: int = setting(
        "Work", "How often a failed transcode is retried before its chunk is replaced by filler.", 2, ge=0, le=10
    )
    scheduler: str = setting(
        "Work",
        "Where `streamwave up` and `streamwave scheduler` start a Dask scheduler: `dask://127.0.0.1:8786` for this machine "
        "alone, or `dask://0.0.0.0:8786` for workers on others too. `streamwave up` starts a worker as well, and creates the "
        "key if there is none. Empty: `streamwave up` starts neither.",
        "",
        pattern=r"^((dask|tls|tcp)://\S+)?$",
        kind="the address of a scheduler",
    )
    dask_dashboard_port: int = setting(
        "Work",
        "Port of Dask's own dashboard at the scheduler, on the loopback interface only. Needs Bokeh (`pip install "
        "'streamwave[dashboard]'`). 0: none.",
        0,
        ge=0,
        le=65535,
    )
    task_runner: str = setting(
        "Work",
        "Where chunks are encoded. Empty: by FFmpeg processes of this machine. The address of a Dask scheduler "
        "(`dask://HOST:8786`): by the workers that are connected to it (docs/howto/workers.md), one chunk per slot.",
        pattern=r"^((dask|tls|tcp)://\S+)?$",
        kind="the address of a scheduler",
        derived=(lambda d: connectable(d.get("scheduler", "")), "that of `STREAMWAVE_SCHEDULER`"),
    )
    max_chunks_in_flight: int = setting(
        "Work",
        "Maximum number of chunks of one stream that are processed at the same time. Limits memory and temporary disk "
        "space. A value below the number of cores, or of the workers' slots, leaves some idle.",
        ge=1,
        le=1000,
        derived=(lambda d: 16 if d.get("task_runner") else 4, "4, or 16 if `STREAMWAVE_TASK_RUNNER` is set"),
    )
    cluster_keys: Folder = setting(
        "Work",
        "Folder with the key of runs, scheduler and workers, as `streamwave cluster keys` creates it. Whoever has it can run "
        "programs on every worker.",
        kind="a folder",
        derived=(
            lambda d: d.get("state_dir", Path("var").absolute()) / "cluster",
            "`cluster` in `STREAMWAVE_STATE_DIR`",
        ),
    )
    cluster_plain: bool = setting(
        "Work",
        "Allow unencrypted connections between machines, for a scheduler whose address begins with `tcp://`. Everyone who "
        "can reach a scheduler or worker can then run programs there.",
        False,
    )
    spool_place: Annotated[str, BeforeValidator(to_place)] = setting(
        "Work",
        "Where chunks wait until they are published: a folder, preferably on a disk of its own, or an address as in "
        "`OUTPUT_DIR` (`s3://bucket/prefix`), from which runs on other machines can publish without a shared disk "
        "(docs/spool.md). With an address, incoming data is first written to `spool` in `STREAMWAVE_STATE_DIR` and then "
        "uploaded.",
        name="STREAMWAVE_SPOOL_DIR",
        kind="a folder, or one fsspec address without spaces and commas that other processes can reach",
        derived=(
            lambda d: str(d.get("state_dir", Path("var").absolute()) / "spool"),
            "`spool` in `STREAMWAVE_STATE_DIR`",
        ),
    )

    prefect_api_url: str | None = setting(
        "Prefect",
        "Prefect's own variable: the server that runs are reported to. If not set, one is started for the duration of "
        "the run.",
        name="PREFECT_API_URL",
        pattern=r"^https?://[^/\s]+",
        kind="an http or https address",
    )
    prefect_auth: SecretStr | None = setting(
        "Prefect",
        "Prefect's own variable: the credentials that clients send to the server, `user:password`. The server that "
        "StreamWave starts always requires credentials. If none are set, they are generated at first use and kept in "
        "`PREFECT_HOME`; `streamwave prefect login` shows them.",
        name="PREFECT_API_AUTH_STRING",
        kind="`user:password`",
    )
    prefect_server_auth: SecretStr | None = setting(
        "Prefect",
        "Prefect's own variable: the credentials that the server requires. Setting one of the two is enough for the "
        "server that StreamWave starts.",
        name="PREFECT_SERVER_API_AUTH_STRING",
        kind="`user:password`",
    )
    prefect_home: Folder = setting(
        "Prefect",
        "Prefect's own variable: the folder of its database and profiles.",
        name="PREFECT_HOME",
        kind="a folder",
        derived=(
            lambda d: d.get("state_dir", Path("var").absolute()) / "prefect",
            "`prefect` in `STREAMWAVE_STATE_DIR`",
        ),
    )
    window_s: int = setting(
        "Prefect",
        "Length of the stream that one child flow run of a live stream covers. Prefect's UI draws up to about 2000 task "
        "runs at once, which is five minutes of 2 s chunks in twice the usual number of renditions.",
        300,
        unit="s",
        ge=1,
        le=86400,
    )
    prefect_port: Port = setting(
        "Prefect",
        "Port of the API and UI of the server that `streamwave up` starts. Not used if `PREFECT_API_URL` is set.",
        4200,
    )
    work_pool: str | None = setting(
        "Prefect",
        "Prefect work pool whose workers publish live streams, through the deployment `live-stream/live` in "
        "deployments/prefect.yaml. If not set, the processing service runs them on its own machine.",
        min_length=1,
        kind="the name of a work pool",
    )

    database_url: SecretStr = setting(
        "Live",
        "SQLAlchemy URL of the database of streams and sessions.",
        kind="an SQLAlchemy address",
        derived=(
            lambda d: SecretStr(f"sqlite:///{d.get('state_dir', Path('var').absolute())}/streamwave.db"),
            "SQLite, `streamwave.db` in `STREAMWAVE_STATE_DIR`",
        ),
    )
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _spool_is_apart(self) -> Self:
        try:
            if self.spool_url:
                check_address(self.spool_url)
            spools = [normal_place(OutputAddress(url=place)) for place in {self.spool_place, str(self.spool_dir)}]
        except ValueError as error:
            raise ValueError(f"STREAMWAVE_SPOOL_DIR is {shown_address(self.spool_place)!r}: {error}") from None
        for target in self.outputs:
            same_service = target.endpoint in (None, self.s3_endpoint) or target.is_local
            for spool in spools:
                if same_service and f"{normal_place(target)}/".startswith(f"{spool.rstrip('/')}/"):
                    raise ValueError(
                        f"the output {shown_address(target.url)} is inside the spool {shown_address(spool)}, and would be "
                        f"deleted with it; set {self.spool_dir_variable} to a separate location"
                    )
        return self

    @classmethod
    def load(cls, env_file: str | Path | None = ENV_FILE, **overrides: Any) -> Settings:
        """Read the settings of this process.

        Args:
            env_file: The file to read besides the environment; None for none. ``.env`` is read only if no other user could have
                written it.
            **overrides: Values of single settings by field name, which take precedence over the environment.

        Raises:
            SettingsError: One line per fault: the variable, its value (unless secret), and what is allowed.

        Examples:
            >>> streamwave.Settings.load(crf=28, output_dir="out").crf
            28
        """
        unknown = sorted(overrides.keys() - cls.model_fields.keys())
        if unknown:
            raise SettingsError(f"there is no setting {unknown[0]}; overrides are named like the fields of Settings")
        try:
            if env_file == ENV_FILE:
                env_file = trust.env_file()
            settings = cls(_env_file=env_file, **overrides)
            settings._warnings = unknown_variables(cls, env_file)
            for variable, value in (("FFMPEG_PATH", settings.ffmpeg_path), ("STREAMWAVE_LADDER", settings.ladder)):
                if value and (os.sep in value or value.endswith((".toml", ".json"))):
                    trust.check_named_here(variable, value)
            if settings.s3_bucket and not settings.use_s3:
                settings._warnings += ("S3_BUCKET is set but not used, because USE_S3 is not true",)
        except ValidationError as error:
            faults = [fault for fault in error.errors() if fault["type"] != "default_factory_not_called"]
            raise SettingsError("\n".join(describe_fault(cls, fault) for fault in faults)) from None
        except UnicodeDecodeError:
            raise SettingsError(f"{env_file} is not UTF-8 text: save it as UTF-8") from None
        return settings

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence per variable that looks like a setting but is unknown, or that has no effect."""
        return self._warnings

    @property
    def prefect_url(self) -> str:
        """Address of Prefect's API: the configured server, or the one that StreamWave starts on this machine."""
        return self.prefect_api_url or f"http://127.0.0.1:{self.prefect_port}/api"

    def audio_index(self, asked: int | None = None) -> int | None:
        """Index of the audio track, from 0; ``asked`` (from 1) overrides the setting. None: the first that can be decoded.

        Raises:
            UsageError: ``asked`` is below 1.
        """
        if asked is not None and asked < 1:
            raise UsageError(f"there is no audio track {asked}; they are counted from 1")
        number = asked or self.audio_track
        return number - 1 if number else None

    @property
    def ffmpeg_slot_count(self) -> int:
        """FFmpeg processes that may run at the same time: the setting, or the number of cores available to this process."""
        return self.ffmpeg_slots or len(os.sched_getaffinity(0))

    def encoder_threads_for(self, *, live: bool) -> int:
        """Threads of each encoder: the setting, or the default for live streams or files."""
        return self.encoder_threads or (2 if live else 1)

    @property
    def spool_url(self) -> str | None:
        """Address of a spool in a store; None if the spool is a folder."""
        return self.spool_place if is_address(self.spool_place) else None

    @property
    def spool_dir(self) -> Path:
        """The spool's folder on this machine: the spool itself, or the chunks that still have to be uploaded to it."""
        return self.state_dir / "spool" if self.spool_url else Path(self.spool_place)

    @property
    def spool_dir_variable(self) -> str:
        """The setting that determines the spool's folder on this machine."""
        return "STREAMWAVE_STATE_DIR" if self.spool_url else "STREAMWAVE_SPOOL_DIR"
