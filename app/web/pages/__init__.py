"""The pages: each a file with its routes, its contexts and its parts."""

from __future__ import annotations

from fastapi import APIRouter

from app.web.pages import (
    ablate,
    compare,
    dashboard,
    datasets,
    import_model,
    jobs,
    live,
    models,
    report,
    submitting,
)

router = APIRouter(include_in_schema=False)
_PAGES = (
    ablate, dashboard, jobs, report, compare, submitting, import_model, models, datasets, live,
)  # fmt: skip
for page in _PAGES:
    router.include_router(page.router)
