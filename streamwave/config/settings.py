"""Settings: from the environment, then from `.env` in the working directory, then the default.

The names that the original used (``USE_S3``, ``OUTPUT_DIR``, …) have no prefix; all others begin with ``STREAMWAVE_``.
docs/settings.md and .env.example are written from this module by ``python -m streamwave.settings``.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, PrivateAttr, SecretStr, ValidationError, model_validator
from pydantic_settings import SettingsConfigDict

from streamwave.config.faults import describe_fault, unknown_variables
from streamwave.config.fields import PREFIX, Folder, LogLevel, Passthrough, Port, Preset, setting, to_lower, to_place
from streamwave.config.limits import STALLED_CPU_S
from streamwave.config.live import LiveSettings
from streamwave.errors import SettingsError
from streamwave.ffmpeg.limits import SourceLimits
from streamwave.storage.address import check_address, is_address, shown_address
from streamwave.storage.outputs import OutputAddress, normal_place
from streamwave.untrusted import to_fraction
from streamwave.util import trust
from streamwave.util.trust import ENV_FILE


class Settings(LiveSettings):
    """Everything that can be set. Immutable; folders are absolute; make one with :meth:`load`."""

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
        "From the environment only: a file of settings that is read in place of `.env` in the working directory. Empty: none "
        "is read. `.env` itself is refused where it or its folder belongs to another user, or others may write to it.",
        kind="the path of a file",
    )
    state_dir: Folder = setting(
        "General",
        "Folder for everything that has to survive a restart: databases, spool, Prefect's home.",
        Path("var"),
        kind="a folder",
    )
    ffmpeg_path: str | None = setting(
        "General",
        "The FFmpeg program to use. Without it: the system's, else the one of the package imageio-ffmpeg.",
        name="FFMPEG_PATH",
        kind="the path of a program",
    )

    segment_seconds: Annotated[Fraction, BeforeValidator(to_fraction)] = setting(
        "Encoding",
        "Least length of a chunk, and usual length of a segment. Shorter: lower latency, more requests and "
        "bits. A chunk ends at the first keyframe after this, so rare keyframes make longer chunks.",
        Fraction(2),
        unit="s",
        ge=1,
        le=10,
        kind="a number, also as a fraction (`1001/500`)",
    )
    audio_track: int | None = setting(
        "Encoding",
        "Which of a source's audio tracks is taken, counted from 1. Without it, and from a source that has fewer, the first "
        "that can be decoded.",
        None,
        ge=1,
        le=64,
    )
    ladder: str | None = setting(
        "Encoding",
        "Renditions: names of the default ladder (`720p,360p`), the path of a `.toml` or `.json` file, or "
        "inline JSON that replaces it. Without it: 1080p, 720p, 480p, 360p and audio. Never above the source.",
        kind="names, a file or JSON",
    )
    passthrough: Passthrough = setting(
        "Encoding",
        "Whether the source's own pictures may be the top rendition, without being encoded again: `auto` where they are H.264 "
        "that players show as it is, of a rung's size and within its bit rate, with keyframes that segments can begin at. "
        "See docs/decisions/0008-passthrough.md.",
        "auto",
    )
    preset: Preset = setting(
        "Encoding", "x264's preset. Slower ones need fewer bits for the same picture and more CPU time.", "superfast"
    )
    crf: int = setting(
        "Encoding",
        "x264's constant rate factor, capped by each rendition's maximum. Lower: better pictures, more bits.",
        23,
        ge=0,
        le=51,
    )
    encoder_threads: int = setting(
        "Encoding",
        "Threads of each encoder and decoder. With 1, encoding a chunk again gives the same bytes. With more, x264 under a "
        "maximum bit rate and the decoder of a damaged source depend on how their threads happen to run: every try "
        "gives other bytes, of the same pictures. 0: 1 for files, and 2 for live streams, where a chunk is needed soon.",
        0,
        ge=0,
        le=64,
    )

    ffmpeg_slots: int = setting(
        "Work", "FFmpeg processes that may run at once on this machine. 0: as many as it has cores.", 0, ge=0, le=1024
    )
    ffmpeg_timeout_s: int = setting(
        "Work",
        "An FFmpeg process that works on one chunk for longer is killed and its chunk tried again.",
        600,
        unit="s",
        ge=1,
        le=86400,
    )
    max_chunks_in_flight: int = setting(
        "Work",
        "Chunks of one stream that are worked on at once. Bounds memory and temporary disk space; below the "
        "number of machines' cores it leaves them idle.",
        4,
        ge=1,
        le=1000,
    )
    chunk_retries: int = setting(
        "Work", "How often a failed transcode is tried again before its chunk is given up.", 2, ge=0, le=10
    )
    spool_place: Annotated[str, BeforeValidator(to_place)] = setting(
        "Work",
        "Where chunks wait until they are published: a folder, best on a disk of its own, or an address as in `OUTPUT_DIR` "
        "(`s3://bucket/prefix`), from which runs on other machines publish without sharing a disk (docs/spool.md). With an "
        "address, what is being received still lies in `spool` in `STREAMWAVE_STATE_DIR` until it is stored there.",
        name="STREAMWAVE_SPOOL_DIR",
        kind="a folder, or one fsspec address without spaces and commas that other processes can reach",
        derived=(
            lambda d: str(d.get("state_dir", Path("var").absolute()) / "spool"),
            "`spool` in `STREAMWAVE_STATE_DIR`",
        ),
    )

    prefect_api_url: str | None = setting(
        "Prefect",
        "Prefect's own variable: the server that runs are reported to. Without it one is started for the "
        "time of the run.",
        name="PREFECT_API_URL",
        pattern=r"^https?://[^/\s]+",
        kind="an http or https address",
    )
    prefect_auth: SecretStr | None = setting(
        "Prefect",
        "Prefect's own variable: what its server asks of clients, `user:password`. The server that we start always asks: "
        "without this for what it generates at first use and keeps in `PREFECT_HOME`; `streamwave prefect login` shows it.",
        name="PREFECT_API_AUTH_STRING",
        kind="`user:password`",
    )
    prefect_server_auth: SecretStr | None = setting(
        "Prefect",
        "Prefect's own variable: the same from the server's side. One of the two is enough for the server that we start.",
        name="PREFECT_SERVER_API_AUTH_STRING",
        kind="`user:password`",
    )
    prefect_home: Folder = setting(
        "Prefect",
        "Prefect's own variable: its database and profiles.",
        name="PREFECT_HOME",
        kind="a folder",
        derived=(
            lambda d: d.get("state_dir", Path("var").absolute()) / "prefect",
            "`prefect` in `STREAMWAVE_STATE_DIR`",
        ),
    )
    window_s: int = setting(
        "Prefect",
        "Length of stream that one child flow run of a live stream holds. Prefect's UI draws up to about 2000 task "
        "runs at once, which is five minutes of 2 s chunks in twice the usual number of renditions.",
        300,
        unit="s",
        ge=1,
        le=86400,
    )
    prefect_port: Port = setting(
        "Prefect",
        "Port of the API and UI of the server that `streamwave up` starts. Not used while `PREFECT_API_URL` is set.",
        4200,
    )
    work_pool: str | None = setting(
        "Prefect",
        "Prefect work pool whose workers publish the live streams, through the deployment `live-stream/live` of "
        "deployments/prefect.yaml. Without it the processing service runs them on its own machine.",
        min_length=1,
        kind="the name of a work pool",
    )

    database_url: SecretStr = setting(
        "Live",
        "SQLAlchemy address of the database of streams and sessions.",
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
                        f"the output {shown_address(target.url)} lies in the spool {shown_address(spool)}, and would be "
                        f"cleaned away with it; set {self.spool_dir_variable} to a place of its own"
                    )
        return self

    @classmethod
    def load(cls, env_file: str | Path | None = ENV_FILE, **overrides: Any) -> Settings:
        """The settings of this process; ``overrides`` (by field name) win over the environment.

        ``.env`` is read only where nobody else could have written it (``trust.env_file``).

        Raises SettingsError with one line per fault: the variable, its value (never a secret's), what is allowed.
        """
        try:
            if env_file == ENV_FILE:
                env_file = trust.env_file()
            settings = cls(_env_file=env_file, **overrides)
            settings._warnings = unknown_variables(cls, env_file)
            for variable, value in (("FFMPEG_PATH", settings.ffmpeg_path), ("STREAMWAVE_LADDER", settings.ladder)):
                if value and (os.sep in value or value.endswith((".toml", ".json"))):
                    trust.check_named_here(variable, value)
            if settings.s3_bucket and not settings.use_s3:
                settings._warnings += ("S3_BUCKET is set and not used, because USE_S3 is not true",)
        except ValidationError as error:
            faults = [fault for fault in error.errors() if fault["type"] != "default_factory_not_called"]
            raise SettingsError("\n".join(describe_fault(cls, fault) for fault in faults)) from None
        except UnicodeDecodeError:
            raise SettingsError(f"{env_file} is not UTF-8 text: save it as UTF-8") from None
        return settings

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence per variable that looks like a setting and is none."""
        return self._warnings

    @property
    def prefect_url(self) -> str:
        """Address of the API of Prefect's server: the one that is set, or ours on this machine."""
        return self.prefect_api_url or f"http://127.0.0.1:{self.prefect_port}/api"

    @property
    def source_limits(self) -> SourceLimits:
        """Limits of one source, and the FFmpeg that receives what PyAV cannot."""
        return SourceLimits(
            self.max_pixels, self.max_tracks, self.source_memory_mb, STALLED_CPU_S, ffmpeg_path=self.ffmpeg_path
        )

    def audio_index(self, asked: int | None = None) -> int | None:
        """The audio track to take, from 0; ``asked``, from 1, wins over the setting. None: the first that can be decoded."""
        number = asked or self.audio_track
        return number - 1 if number else None

    @property
    def ffmpeg_slot_count(self) -> int:
        """FFmpeg processes that may run at once: the setting, or the cores that this process may use."""
        return self.ffmpeg_slots or len(os.sched_getaffinity(0))

    def encoder_threads_for(self, *, live: bool) -> int:
        """Threads of each encoder: the setting, or what suits the kind of source."""
        return self.encoder_threads or (2 if live else 1)

    @property
    def spool_url(self) -> str | None:
        """Address of the spool where it is in a store; None where it is a folder."""
        return self.spool_place if is_address(self.spool_place) else None

    @property
    def spool_dir(self) -> Path:
        """The spool's folder on this machine: the spool itself, or what is still to be stored."""
        return self.state_dir / "spool" if self.spool_url else Path(self.spool_place)

    @property
    def spool_dir_variable(self) -> str:
        """The setting that moves the spool's folder on this machine."""
        return "STREAMWAVE_STATE_DIR" if self.spool_url else "STREAMWAVE_SPOOL_DIR"
