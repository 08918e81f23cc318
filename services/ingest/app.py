"""Builds the FastAPI application and the objects that live as long as it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.ingest import admin, document, hooks, refusal, status
from services.ingest.body import Limits
from services.ingest.guard import Guard
from services.ingest.processing import Processing
from services.ingest.sessions import Sessions
from streamwave.config.settings import Settings
from streamwave.streams.database import MAX_CONNECTIONS, Database
from streamwave.streams.hooks import hook_token
from streamwave.streams.publishes import Publishes
from streamwave.streams.registry import Registry
from streamwave.util.own_site import OwnNames, OwnSite
from streamwave.util.version import VERSION

#: Calls that may wait for the database or the disk at the same time.
THREADS = MAX_CONNECTIONS


def create_app(settings: Settings) -> FastAPI:
    """The ingest service with these settings."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # A pool of its own, so that calls that wait for a locked database do not block calls that do not use it.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="call"))
        database = await asyncio.to_thread(Database.open, settings)
        try:
            registry = Registry(database)
            app.state.settings, app.state.registry = settings, registry
            app.state.guard = Guard(settings, hook_token(settings))
            processing = app.state.processing = Processing(settings)
            sessions = app.state.sessions = Sessions(settings, registry, Publishes(database), processing)
            try:
                await sessions.recover()
                async with status.open_client() as app.state.http:
                    yield
            finally:
                await sessions.close()
                await processing.close()
        finally:
            database.close()

    # No interactive API pages: they load scripts from other servers.
    app = FastAPI(
        title="StreamWave ingest",
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(Limits)
    app.add_middleware(
        OwnSite, names=OwnNames(settings.ingest_host, settings.allowed_hosts)
    )  # added last, so it runs first
    refusal.install(app)
    document.install(app)
    for part in (hooks, status, admin):
        app.include_router(part.router)
    return app
