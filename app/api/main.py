"""The HTTP application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import Any

from fastapi import APIRouter, FastAPI

from app import logs
from app.api import batches, control, erasure, errors, files, metrics, models, sprout, webhooks
from app.api.access import Guard
from app.api.documents import REFUSALS
from app.api.endings import Endings
from app.composition import build_context
from app.services.context import Context
from app.settings import load
from app.web import pages

ROUTES = APIRouter(responses=REFUSALS, generate_unique_id_function=attrgetter("name"))
for module in (files, batches, control, models, sprout, erasure, webhooks, metrics, pages):
    ROUTES.include_router(module.router)


def create_app(context: Context) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.endings.close()
        context.database.close()

    app = FastAPI(
        title="Sprout",
        version="0.1.0",
        description="OpenAI's Files and Batches API, and what Sprout has beyond it.",
        lifespan=lifespan,
        routes=ROUTES.routes,
        responses=REFUSALS,
        generate_unique_id_function=attrgetter("name"),
    )
    app.state.context = context
    app.state.endings = Endings(context.database)
    app.add_middleware(Guard, context=context)
    errors.install(app)

    @app.get("/healthz")
    def health() -> Any:
        """Whether PostgreSQL answers; the broker may be away for a while without harm."""
        context.database.ping()
        return {"status": "ok"}

    return app


def application() -> FastAPI:
    """For uvicorn's `--factory`."""
    settings = load()
    logs.keep_words_out()
    if settings.log_format == "json":
        logging.basicConfig(level=logging.WARNING)
        logs.write_json()
    return create_app(build_context(settings))
