"""The URL at which the RTMP server calls the ingest service.

It contains a token of this installation, because nginx-rtmp cannot send custom headers, and an ID of the server's start:
client numbers begin at 1 with every start, and publishes of an earlier start are certainly over.
"""

from __future__ import annotations

import secrets

from streamwave.config.settings import Settings
from streamwave.state.secret import lasting_secret

_FILE = "hook-token"
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def hook_token(settings: Settings) -> str:
    """The token of this installation, created on first use in ``STREAMWAVE_STATE_DIR`` and readable by its owner only.

    Raises:
        OutputError: the folder cannot be written.
    """
    return lasting_secret(settings.state_dir / _FILE, lambda: secrets.token_urlsafe(24))


def hooks_url(settings: Settings) -> str:
    """A new URL for one start of nginx (``services.media.RtmpSettings.hooks_url``).

    Raises:
        OutputError: see ``hook_token``.
    """
    return f"{ingest_url(settings)}/hooks/{hook_token(settings)}/{secrets.token_hex(8)}"


def ingest_url(settings: Settings) -> str:
    """Address of the ingest service as seen from this machine."""
    return f"http://{reachable(settings.ingest_host)}:{settings.ingest_port}"


def reachable(host: str) -> str:
    """The host to connect to, in the form for a URL, for a service that listens on ``host``."""
    host = WILDCARDS.get(host, host)
    return f"[{host}]" if ":" in host else host
