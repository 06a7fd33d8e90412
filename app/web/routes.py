"""All pages."""

from __future__ import annotations

from fastapi import APIRouter

from app.web import dashboard, dataset_pages, job_pages, live_page, model_pages, submit_pages

router = APIRouter(include_in_schema=False)
for part in (dashboard, job_pages, submit_pages, model_pages, dataset_pages, live_page):
    router.include_router(part.router)
