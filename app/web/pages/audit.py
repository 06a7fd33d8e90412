"""Who changed what, for admins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.admission.routes import ForAdmins
from app.contracts.accounts import Audit
from app.contracts.views import Page
from app.deps import LabDep, PageNumber
from app.services import auditing
from app.web.render import Context, render

_ROWS = 50


@dataclass(frozen=True)
class AuditContext(Context):
    """A page of the audit log."""

    template: ClassVar[str] = "audit.html"

    records: Page[Audit]
    """Newest first."""
    pages: int
    """How many pages there are, at least one."""


router = APIRouter(prefix="/audit", route_class=ForAdmins)


@router.get("")
def page(lab: LabDep, request: Request, page: PageNumber = 1) -> Response:
    records = auditing.page(lab, page=page, page_size=_ROWS)
    return render(request, AuditContext(records, max(1, -(-records.total // _ROWS))))
