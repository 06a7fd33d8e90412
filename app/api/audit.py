"""Who changed what, for admins."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from app.admission.routes import ForAdmins
from app.api.fields import PageSize
from app.contracts.accounts import AuditPage
from app.deps import LabDep, RecordNumber
from app.services import auditing

router = APIRouter(prefix="/audit", tags=["audit"], route_class=ForAdmins)


@router.get("")
def audit(lab: LabDep, before: RecordNumber = None, page_size: PageSize = 100) -> AuditPage:
    """Who changed what, from where and with what outcome, newest first; `older` of the answer is
    `before` of the next request."""
    return auditing.newest(lab, before=before, page_size=page_size)


@router.get("/records.csv", response_class=StreamingResponse)
def as_csv(lab: LabDep) -> StreamingResponse:
    """All of it as a table, oldest first."""
    return StreamingResponse(auditing.as_csv(lab), media_type="text/csv")


@router.get("/records.jsonl", response_class=StreamingResponse)
def as_lines(lab: LabDep) -> StreamingResponse:
    """All of it as lines of JSON, oldest first."""
    return StreamingResponse(auditing.as_lines(lab), media_type="application/jsonl")
