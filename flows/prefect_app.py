"""Prefect's server as we run it: the application that uvicorn serves, behind the check of who calls.

``STREAMWAVE_ALLOWED_HOSTS`` is read from the environment of the server's process, as Prefect reads its own settings.
"""

from __future__ import annotations

import os

from prefect.server.api.server import create_app
from prefect.settings import get_current_settings

from streamwave.config.fields import to_hosts
from streamwave.util.own_site import App, OwnNames, OwnSite


def create() -> App:
    """The application. Must have been given authentication: without it, whoever reaches the server can run programs.

    Raises:
        RuntimeError: PREFECT_SERVER_API_AUTH_STRING is not set.
    """
    server = get_current_settings().server
    if server.api.auth_string is None:
        raise RuntimeError("PREFECT_SERVER_API_AUTH_STRING is not set; Prefect's server is not started without it")
    allowed = to_hosts(os.environ.get("STREAMWAVE_ALLOWED_HOSTS", ""))
    assert isinstance(allowed, tuple)
    return OwnSite(create_app(), OwnNames(server.api.host, allowed))
