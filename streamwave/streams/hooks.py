"""The address at which the RTMP server reaches the ingest service.

It holds a token that only this installation knows (nginx-rtmp can send no header of ours), and a name of the server's
start: client numbers begin at 1 with each start, and a publish of an earlier start is certainly over.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from streamwave.errors import OutputError
from streamwave.settings import Settings

_FILE = "hook-token"
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def hook_token(settings: Settings) -> str:
    """The token of this installation, made on first use in ``STREAMWAVE_STATE_DIR``, readable by its owner only.

    Raises:
        OutputError: the folder can't be written to.
    """
    path = settings.state_dir / _FILE
    try:
        return _read(path) or _make(path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be read or written ({error.strerror}); check the folder STREAMWAVE_STATE_DIR"
        ) from None


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


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def _make(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{_FILE}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, secrets.token_urlsafe(24).encode())
    finally:
        os.close(handle)
    try:
        # A link and not a rename: of two processes that make it at once the first one counts.
        os.link(part, path)
    except FileExistsError:
        pass
    finally:
        part.unlink()
    return _read(path)
