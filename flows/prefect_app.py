"""Prefect's server as an application for uvicorn, behind a check of the Host and Origin headers.

``STREAMWAVE_ALLOWED_HOSTS`` is read from the process's environment, where Prefect reads its own settings too.
"""

from __future__ import annotations

import gc
import os

# Loading the server makes hundreds of thousands of objects that stay: looking for garbage among them takes half a second.
gc.disable()

from prefect.server.api.server import create_app  # noqa: E402
from prefect.settings import get_current_settings  # noqa: E402

from streamwave.config.fields import to_hosts  # noqa: E402
from streamwave.util.own_site import App, OwnNames, OwnSite  # noqa: E402


def create() -> App:
    """Create the application. Authentication is mandatory, because every client of the server can run programs.

    Raises:
        RuntimeError: PREFECT_SERVER_API_AUTH_STRING is not set.
    """
    server = get_current_settings().server
    if server.api.auth_string is None:
        raise RuntimeError("PREFECT_SERVER_API_AUTH_STRING is not set; Prefect's server needs it to start")
    allowed = to_hosts(os.environ.get("STREAMWAVE_ALLOWED_HOSTS", ""))
    assert isinstance(allowed, tuple)
    app = OwnSite(create_app(), OwnNames(server.api.host, allowed))
    gc.freeze()
    gc.enable()
    return app
