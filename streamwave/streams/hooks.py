"""The address at which the RTMP server reaches the ingest service.

It holds a token that only this installation knows (nginx-rtmp can send no header of ours), and a name of the server's
start: client numbers begin at 1 with each start, and a publish of an earlier start is certainly over.
"""

from __future__ import annotations

import secrets

from streamwave.config.settings import Settings
from streamwave.state.secret import lasting_secret

_FILE = "hook-token"
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def hook_token(settings: Settings) -> str:
    """The token of this installation, made on first use in ``STREAMWAVE_STATE_DIR``, readable by its owner only.

    Raises:
        OutputError: the folder can't be written to.
    """
    return lasting_secret(settings.state_dir / _FILE, lambda: secrets.token_urlsafe(24))


def hooks_url(settings: Settings) -> str:
    """What ``services.media.RtmpSettings.hooks_url`` is to be for one start of nginx; another one at every call.

    Raises:
        OutputError: see ``hook_token``.
    """
    return f"{ingest_url(settings)}/hooks/{hook_token(settings)}/{secrets.token_hex(8)}"


def ingest_url(settings: Settings) -> str:
    """Address of the ingest service as seen from this machine."""
    return f"http://{reachable(settings.ingest_host)}:{settings.ingest_port}"


def reachable(host: str) -> str:
    """The address to connect to for a service that listens on ``host``, as it stands in a URL."""
    host = WILDCARDS.get(host, host)
    return f"[{host}]" if ":" in host else host
