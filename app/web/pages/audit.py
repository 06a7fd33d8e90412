"""Who changed what, for admins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.admission.routes import ForAdmins
from app.contracts.accounts import AuditPage
from app.deps import LabDep, RecordNumber
from app.services import auditing
from app.web.pages.audit_words import deed
from app.web.render import Context, render

_ROWS = 50


@dataclass(frozen=True)
class AuditContext(Context):
    """A page of the audit log."""

    template: ClassVar[str] = "audit.html"

    records: AuditPage
    """Newest first."""
    newest: bool
    """Whether these are the newest."""
    deeds: tuple[str, ...]
    """What was done by each, in words."""
    named: Mapping[str, tuple[str, str]]
    """By id of what they concern: the folder of its page, and what it is called."""
    most: int
    """Of what a record concerns, how many are shown."""


router = APIRouter(prefix="/audit", route_class=ForAdmins)


@router.get("")
def page(lab: LabDep, request: Request, before: RecordNumber = None) -> Response:
    records = auditing.newest(lab, before=before, page_size=_ROWS)
    context = AuditContext(
        records=records,
        newest=before is None,
        deeds=tuple(deed(one.what, one.status) for one in records.items),
        named=auditing.named(lab, records.items),
        most=auditing.MOST_NAMED,
    )
    return render(request, context)
