"""The settings of live streams: ports, access, and how much is kept."""

from __future__ import annotations

from typing import Self

from pydantic import SecretStr, model_validator

from streamwave.config.fields import Port, setting
from streamwave.config.limits import LimitSettings


class LiveSettings(LimitSettings):
    """Part of ``Settings``."""

    rtmp_host: str = setting("Live", "Address that RTMP listens on.", "0.0.0.0", pattern=r"^[\w.:-]+$", kind="a host")
    rtmp_port: Port = setting("Live", "Port that publishers (OBS) connect to.", 1936)
    rtmp_internal_port: Port = setting(
        "Live",
        "Port of nginx-rtmp on loopback addresses (127.0.0.1 to 127.0.0.3), from which segmenters pull published "
        "streams.",
        19360,
    )
    rtmp_url: str = setting(
        "Live",
        "RTMP application from which segmenters pull published streams.",
        name="RTMP_URL",
        pattern=r"^rtmps?://\S+$",
        kind="an rtmp or rtmps address",
        derived=(
            lambda d: f"rtmp://127.0.0.1:{d.get('rtmp_internal_port', 19360)}/live",
            "`rtmp://127.0.0.1:19360/live`, or `STREAMWAVE_RTMP_INTERNAL_PORT` in place of 19360",
        ),
    )
    ingest_host: str = setting(
        "Live", "Address that the ingest service listens on.", "127.0.0.1", pattern=r"^[\w.:-]+$", kind="a host"
    )
    ingest_port: Port = setting("Live", "Port of the ingest service (HTTP).", 8081)
    grpc_host: str = setting(
        "Live", "Address that the processing service listens on.", "127.0.0.1", pattern=r"^[\w.:-]+$", kind="a host"
    )
    grpc_port: Port = setting("Live", "Port of the processing service (gRPC).", 50052)
    media_host: str = setting(
        "Live",
        "Address on which the player page and media are served.",
        "0.0.0.0",
        pattern=r"^[\w.:-]+$",
        kind="a host",
    )
    media_port: Port = setting("Live", "Port of the player page and media (HTTP).", 8080)
    public_url: str = setting(
        "Live",
        "Address at which viewers reach the player page; used in links.",
        pattern=r"^https?://[^/\s]+",
        kind="an http or https address",
        derived=(
            lambda d: f"http://127.0.0.1:{d.get('media_port', 8080)}",
            "`http://127.0.0.1:8080`, or `STREAMWAVE_MEDIA_PORT` in place of 8080",
        ),
    )
    dvr_window_s: int = setting(
        "Live", "How far back viewers of a live stream can seek. 0: to its start.", 0, unit="s", ge=0, le=31_536_000
    )
    record: bool = setting(
        "Live",
        "Whether the recording of a live stream is kept. `false`: segments that have left `STREAMWAVE_DVR_WINDOW_S`, "
        "which is then required, are deleted; for channels that never end. Takes effect with the next broadcast.",
        True,
    )
    recordings_days: int = setting(
        "Live",
        "Recordings are deleted this many days after their end, measured by a clock that has been steady for a day. 0: "
        "they are kept forever. Transcoded files are always kept.",
        0,
        unit="days",
        ge=0,
        le=36500,
    )
    reconnect_window_s: int = setting(
        "Live",
        "A publisher that reconnects within this time continues its broadcast; after that it begins a new one.",
        60,
        unit="s",
        ge=0,
        le=86400,
    )
    admin_token: SecretStr | None = setting(
        "Live",
        "Bearer token for administration over HTTP, which is disabled if this is not set.",
        min_length=16,
        kind="16 characters or more",
    )
    grpc_token: SecretStr | None = setting(
        "Live",
        "Token that the processing service requires (`authorization: Bearer …`). If not set, one is generated and kept "
        "in `grpc-token` in `STREAMWAVE_STATE_DIR`, for callers on this machine.",
        min_length=16,
        kind="16 characters or more",
    )

    @model_validator(mode="after")
    def _window_is_set(self) -> Self:
        if not self.record and not self.dvr_window_s:
            raise ValueError(
                "STREAMWAVE_RECORD is false but STREAMWAVE_DVR_WINDOW_S is not set: set it to the number of seconds to keep, "
                "or set STREAMWAVE_RECORD=true"
            )
        return self
