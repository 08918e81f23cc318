"""The settings that bound what one publisher, one source or one stranger can make us use."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from streamwave.settings_fields import Folder, setting, to_folders
from streamwave.settings_output import OutputSettings


class LimitSettings(OutputSettings):
    """Part of ``Settings``."""

    spool_max_gb: int = setting(
        "Limits",
        "Bytes of chunks that may wait to be published, of all live streams of this machine. Beyond that a stream is "
        "not received any further; what was received is published.",
        20,
        unit="GB",
        ge=1,
        le=1_000_000,
    )
    allowed_file_roots: Annotated[tuple[Folder, ...], NoDecode, BeforeValidator(to_folders)] = setting(
        "Limits",
        "Folders from which the services accept files as sources, joined by `:`. Empty: from none. "
        "The command line reads every file that its user may read.",
        (),
        kind="folders joined by `:`",
    )
    rtmp_waiting: int = setting(
        "Limits",
        "RTMP connections that do not publish yet, at once. Beyond that the one that has come least far ends for each new one.",
        256,
        ge=1,
        le=2000,
    )
    rtmp_waiting_per_address: int = setting(
        "Limits", "Of these, how many from one address; of IPv6 from one /64 network.", 64, ge=1, le=2000
    )
    max_streams: int = setting(
        "Limits", "Broadcasts that are published at once; further ones wait in the spool.", 16, ge=1, le=1000
    )
