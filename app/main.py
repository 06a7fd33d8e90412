"""The web application: routes, pages, errors, and what runs beside them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.staticfiles import StaticFiles

from app import error_handlers
from app.api import datasets, health, jobs, models
from app.services.jobs import reconcile
from app.services.lab import Lab
from app.settings import VERSION, Settings
from app.settings import settings as environment

_LOG = logging.getLogger("lab.web")
_STATIC = Path(__file__).resolve().parent.parent / "static"
_RECONCILE_EVERY_S = 2.0
_JSON_BYTES = 256 * 2**10
_FORM_BYTES = 2**20
"""What a multipart body may hold beside its file."""


async def _reconcile_for_ever(lab: Lab) -> None:
    while True:
        try:
            await asyncio.to_thread(reconcile, lab)
        except Exception:
            _LOG.exception("The reconciler failed; it tries again.")
        await asyncio.sleep(_RECONCILE_EVERY_S)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    lab = Lab.open(app.state.settings)
    app.state.lab = lab
    reconciler = asyncio.create_task(_reconcile_for_ever(lab))
    try:
        yield
    finally:
        reconciler.cancel()
        with suppress(asyncio.CancelledError):
            await reconciler
        lab.close()


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application on `settings`, by default those of the environment."""
    facts = settings or environment()
    app = FastAPI(
        title="AGKD-BML Lab",
        version=VERSION,
        description="Train robust image classifiers, measure how robust they are, and see what "
        "they look at.",
        lifespan=_lifespan,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        max_body_size=_JSON_BYTES,
    )
    app.state.settings = facts
    error_handlers.install(app)
    _include_api(app, facts)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    return app


def _include_api(app: FastAPI, facts: Settings) -> None:
    api = APIRouter(prefix="/api")
    for router in (jobs.router, models.router, health.router):
        api.include_router(router)
    api.include_router(
        datasets.router, max_body_size=facts.max_upload_mb * 2**20 + _FORM_BYTES
    )
    app.include_router(api)
