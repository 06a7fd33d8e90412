"""Who changed what: recording it, and reading the records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from app.contracts.accounts import Audit, AuditPage
from app.errors import LabError
from app.services.lab import Lab
from app.services.spreadsheets import Cell, lines
from app.store import audit
from app.store.acting import Act, acting
from app.store.tables import AuditRow

_REFUSED = (401, 403)
"""What is recorded though it changed nothing."""
MOST_NAMED = 3
"""Things that a record is shown with."""


@contextmanager
def recorded(lab: Lab, what: str, address: str) -> Iterator[None]:
    """What is changed inside is nobody's until it is known whose, and recorded with the outcome:
    for requests that are not recorded by their method."""
    act, status = Act("", address, what), 500
    try:
        with acting(act):
            yield
        status = 200
    except LabError as refused:
        status = refused.status
        raise
    finally:
        act.targets = act.targets or ["unknown"]
        finish(lab, act, status)


def finish(lab: Lab, act: Act, status: int) -> None:
    """Complete the record of what was done, or of what was refused."""
    if act.row is not None or status in _REFUSED:
        audit.finish(lab.database, act, status)


def newest(lab: Lab, *, before: int | None, page_size: int) -> AuditPage:
    """Newest first; those before a record where one is named."""
    rows, older = audit.newest(lab.database, before=before, limit=page_size)
    return AuditPage(items=tuple(map(_view, rows)), older=older)


def named(lab: Lab, records: Sequence[Audit]) -> dict[str, tuple[str, str]]:
    """What the jobs, models and datasets are called that these records concern, and the folder of
    their pages, by id; what is gone is left out."""
    ids = {target for record in records for target in record.targets[:MOST_NAMED]}
    return audit.named(lab.database, ids)


def _view(row: AuditRow) -> Audit:
    return Audit(
        id=row.id,
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
