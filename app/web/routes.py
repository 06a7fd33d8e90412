"""All pages."""

from __future__ import annotations

from fastapi import APIRouter

from app.web import (
    ablation_pages,
    compare_page,
    dashboard,
    dataset_pages,
    import_model_page,
    job_pages,
    live_page,
    model_pages,
    report,
    submit_pages,
)

router = APIRouter(include_in_schema=False)
_PARTS = (
    ablation_pages,
    dashboard,
    job_pages,
    report,
    compare_page,
    submit_pages,
    import_model_page,
    model_pages,
    dataset_pages,
    live_page,
)

for part in _PARTS:
    router.include_router(part.router)
