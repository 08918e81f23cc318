"""Prefect's server as an application for uvicorn, behind a check of the Host and Origin headers.

``STREAMWAVE_ALLOWED_HOSTS`` is read from the process's environment, where Prefect reads its own settings too.
"""

from __future__ import annotations

import os

from streamwave.config.fields import to_hosts
from streamwave.util.loading import without_collecting
from streamwave.util.own_site import App, OwnNames, OwnSite


def create() -> App:
    """Create the application. Authentication is mandatory, because every client of the server can run programs.

    Raises:
        RuntimeError: PREFECT_SERVER_API_AUTH_STRING is not set.
    """
    with without_collecting():
        from prefect.server.api.server import create_app
        from prefect.settings import get_current_settings

        server = get_current_settings().server
        if server.api.auth_string is None:
            raise RuntimeError("PREFECT_SERVER_API_AUTH_STRING is not set; Prefect's server needs it to start")
        allowed = to_hosts(os.environ.get("STREAMWAVE_ALLOWED_HOSTS", ""))
        assert isinstance(allowed, tuple)
        return OwnSite(create_app(), OwnNames(server.api.host, allowed))
