"""The settings that bound what one publisher, one source or one stranger can make us use."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from streamwave.settings_fields import Folder, setting, to_folders, to_origins
from streamwave.settings_output import OutputSettings
from streamwave.source_hosts import to_hosts


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
    source_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(to_hosts)] = setting(
        "Limits",
        "Hosts besides those of the public internet from which the services may fetch sources that callers name: names, "
        "addresses and networks, joined by commas (`10.0.0.0/8,encoder.lan`). Empty: none, so that a caller reaches nothing "
        "inside of this network. The command line fetches from everywhere.",
        (),
        kind="hosts, addresses and networks joined by commas",
    )
    requests_per_address: int = setting(
        "Limits",
        "Requests of one address that the media server answers at once; further ones are refused (429). A viewer has one or "
        "two under way. Set it higher, or 0 for no limit, where many viewers come from one address: behind a proxy or CDN.",
        1000,
        ge=0,
        le=1_000_000,
    )
    embed_from: Annotated[tuple[str, ...], NoDecode, BeforeValidator(to_origins)] = setting(
        "Limits",
        "Sites that may show the player page in a frame of theirs: origins joined by commas (`https://example.org`), or `*` "
        "for every site. Empty: only pages of this server.",
        (),
        kind="origins joined by commas, or `*`",
    )
    play_from: Annotated[tuple[str, ...], NoDecode, BeforeValidator(to_origins)] = setting(
        "Limits",
        "Other servers whose broadcasts the player page plays (`?src=`): origins joined by commas, or `*` for every one. It "
        "always plays those of this server, of `STREAMWAVE_BASE_URLS` and of `STREAMWAVE_PUBLIC_URL`.",
        (),
        kind="origins joined by commas, or `*`",
    )
    max_streams: int = setting(
        "Limits", "Broadcasts that are published at once; further ones wait in the spool.", 16, ge=1, le=1000
    )
