"""Records of who changed what: their end, and reading them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import func, select

from app.store.acting import Act
from app.store.db import Database
from app.store.tables import AuditRow

_AT_A_TIME = 1000


def finish(database: Database, act: Act, status: int) -> None:
    """Complete its record by the answer's status; one that was rolled back is written anew."""
    with database.writing() as session:
        row = None if act.row is None else session.get(AuditRow, act.row)
        done = act.record(status)
        if row is None:
            session.add(done)
        else:
            row.status, row.targets, row.who = status, done.targets, done.who


def page(database: Database, *, offset: int, limit: int) -> tuple[Sequence[AuditRow], int]:
    """Newest first, and how many there are."""
    query = select(AuditRow).order_by(AuditRow.id.desc()).offset(offset).limit(limit)
    with database.reading() as session:
        total = session.scalar(select(func.count()).select_from(AuditRow)) or 0
        return session.scalars(query).all(), total


def all_rows(database: Database) -> Iterator[AuditRow]:
    """Every record, oldest first, some at a time."""
    after = 0
    while True:
        query = select(AuditRow).where(AuditRow.id > after).order_by(AuditRow.id)
        with database.reading() as session:
            rows = session.scalars(query.limit(_AT_A_TIME)).all()
        yield from rows
        if len(rows) < _AT_A_TIME:
            return
        after = rows[-1].id
