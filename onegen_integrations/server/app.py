"""The application: every route over one `Serving`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from onegen_integrations.server.chat import completions
from onegen_integrations.server.errors import add_handlers
from onegen_integrations.server.guarding import Guard
from onegen_integrations.server.observing import routes as observing
from onegen_integrations.server.observing.requests import RequestWatcher
from onegen_integrations.server.page import router as page
from onegen_integrations.server.responses import routes as responses
from onegen_integrations.server.routes import models
from onegen_integrations.server.serving import Serving
from onegen_integrations.server.stores.routes import router as stores
from onegen_integrations.server.vectors import router as vectors

ROUTERS = (
    models.router,
    completions.router,
    responses.router,
    vectors,
    stores,
    observing.router,
    page,
)


def create_app(serving: Serving) -> FastAPI:
    """An ASGI application; serve it with uvicorn, in one process."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(serving.open)
        yield
        await asyncio.to_thread(serving.close)

    app = FastAPI(
        title="OneGen",
        description=__doc__,
        version="1",
        lifespan=lifespan,
        docs_url=None,  # It would load scripts from a public host; so would the other one.
        redoc_url=None,
    )
    app.state.serving = serving
    for router in ROUTERS:
        app.include_router(router)
    add_handlers(app)
    app.add_middleware(Guard, settings=serving.settings)
    if serving.settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(serving.settings.cors),
            allow_methods=["*"],
            allow_headers=["*"],
        )
    app.add_middleware(
        RequestWatcher, observer=serving.observer, access_log=serving.settings.access_log
    )
    return app
