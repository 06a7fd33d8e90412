"""Who changed what: recording it, and reading the records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from app.contracts.accounts import Audit
from app.contracts.views import Page
from app.services.lab import Lab
from app.services.spreadsheets import Cell, lines
from app.store import audit
from app.store.acting import Act
from app.store.tables import AuditRow

_REFUSED = (401, 403)
"""What is recorded though it changed nothing."""


def finish(lab: Lab, act: Act, status: int) -> None:
    """Complete the record of what was done, or of what was refused."""
    if act.row is not None or status in _REFUSED:
        audit.finish(lab.database, act, status)


def page(lab: Lab, *, page: int, page_size: int) -> Page[Audit]:
    """Newest first."""
    rows, total = audit.page(lab.database, offset=(page - 1) * page_size, limit=page_size)
    return Page[Audit](items=tuple(map(_view, rows)), total=total, page=page, page_size=page_size)


def _view(row: AuditRow) -> Audit:
    return Audit(
        at=datetime.fromtimestamp(row.at, UTC),
        who=row.who,
        address=row.address,
        what=row.what,
        targets=tuple(row.targets.split()),
        status=row.status,
    )


def as_lines(lab: Lab) -> Iterator[str]:
    """Every record as a line of JSON, oldest first."""
    for row in audit.all_rows(lab.database):
        yield f"{json.dumps(_view(row).model_dump(mode='json'))}\n"


def as_csv(lab: Lab) -> Iterator[str]:
    """Every record as a row of a table, oldest first."""

    def rows() -> Iterator[Sequence[Cell]]:
        for row in audit.all_rows(lab.database):
            values = _view(row).model_dump(mode="json")
            yield [*(values | {"targets": row.targets}).values()]

    return lines(tuple(Audit.model_fields), rows())
