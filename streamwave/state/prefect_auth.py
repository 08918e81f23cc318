"""What Prefect's API asks for: the authentication of the server that we start, and the address of whichever is used."""

from __future__ import annotations

import secrets

from streamwave.config.settings import Settings
from streamwave.errors import SettingsError
from streamwave.state.secret import lasting_secret

#: In PREFECT_HOME, beside the database whose server asks for it.
FILE = "streamwave-auth"
USER = "streamwave"


def auth_string(settings: Settings) -> str | None:
    """What clients have to show Prefect's server, ``user:password``; None if a server that is not ours asks for nothing.

    Ours always asks for something: what the user has set, or else what is generated at first use.

    Raises:
        SettingsError: the user has set two different ones for our server.
        OutputError: the generated one can't be kept.
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
    """Environment of a process that uses Prefect's API. Other users cannot read it, unlike a command line."""
    auth = auth_string(settings)
    return {"PREFECT_API_URL": settings.prefect_url} | ({"PREFECT_API_AUTH_STRING": auth} if auth else {})
