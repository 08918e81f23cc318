"""The settings that bound what one publisher, one source or one stranger can make us use."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from streamwave.settings_fields import Folder, setting, to_folders, to_hosts
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
        "Folders from which the services, and runs that are started through Prefect, accept files as sources, joined by `:`. "
        "Empty: from none. "
        "The command line reads every file that its user may read.",
        (),
        kind="folders joined by `:`",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(to_hosts)] = setting(
        "Limits",
        "Further host names under which web pages and programs may call the ingest service and the Prefect server that we "
        "start, joined by commas: those of a proxy in front of them, or of a container. Requests for other names are refused, "
        "so that no page on the web can reach them by pointing its own name at this machine.",
        (),
        kind="host names without ports, joined by commas",
    )
    max_streams: int = setting(
        "Limits", "Broadcasts that are published at once; further ones wait in the spool.", 16, ge=1, le=1000
    )
