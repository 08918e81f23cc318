"""Access to Prefect's API: the credentials of the server that StreamWave starts, and the address of the server in use."""

from __future__ import annotations

import secrets

from streamwave.config.settings import Settings
from streamwave.errors import SettingsError
from streamwave.state.secret import lasting_secret

#: File in PREFECT_HOME, next to the database of the server that requires these credentials.
FILE = "streamwave-auth"
USER = "streamwave"


def auth_string(settings: Settings) -> str | None:
    """The credentials for Prefect's server, ``user:password``; None if an external server is used and none are set.

    The server that StreamWave starts always requires credentials: those that the user has set, or generated ones.

    Raises:
        SettingsError: the settings name two different credentials for our server.
        OutputError: the generated credentials cannot be stored.
    """
    ours, theirs = settings.prefect_server_auth, settings.prefect_auth
    if settings.prefect_api_url is not None:
        return theirs.get_secret_value() if theirs else None
    if ours and theirs and ours != theirs:
        raise SettingsError(
            "PREFECT_SERVER_API_AUTH_STRING and PREFECT_API_AUTH_STRING differ, so the server would refuse its own clients: "
            "set one of them"
        )
    chosen = ours or theirs
    if chosen is not None:
        return chosen.get_secret_value()
    return lasting_secret(settings.prefect_home / FILE, lambda: f"{USER}:{secrets.token_urlsafe(24)}")


def client_environment(settings: Settings) -> dict[str, str]:
    """Environment of a process that uses Prefect's API. Unlike a command line, other users cannot read it."""
    auth = auth_string(settings)
    return {"PREFECT_API_URL": settings.prefect_url} | ({"PREFECT_API_AUTH_STRING": auth} if auth else {})
