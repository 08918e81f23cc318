"""The token of the processing service. Every caller must send it, because every user of the machine can reach the port."""

from __future__ import annotations

import secrets

from streamwave.config.settings import Settings
from streamwave.state.secret import lasting_secret

#: Name of the file in STREAMWAVE_STATE_DIR.
GRPC_TOKEN_FILE = "grpc-token"


def grpc_token(settings: Settings) -> str:
    """STREAMWAVE_GRPC_TOKEN, or this installation's token, which is generated at first use and readable by its owner only.

    Raises:
        OutputError: the state folder is not writable.
    """
    if settings.grpc_token is not None:
        return settings.grpc_token.get_secret_value()
    return lasting_secret(settings.state_dir / GRPC_TOKEN_FILE, lambda: secrets.token_urlsafe(24))
