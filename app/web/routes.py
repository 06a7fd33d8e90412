"""All pages."""

from __future__ import annotations

from fastapi import APIRouter

from app.web import submit_pages

router = APIRouter(include_in_schema=False)
router.include_router(submit_pages.router)
