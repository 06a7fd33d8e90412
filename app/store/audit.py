"""Records of who changed what: their end, and reading them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import BigInteger, func, literal, select, union_all

from app.store.acting import Act
from app.store.db import Database
from app.store.tables import AuditRow, DatasetRow, JobRow, ModelRow

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


def newest(
    database: Database, *, before: int | None = None, limit: int
) -> tuple[Sequence[AuditRow], int | None]:
    """Newest first, those before a record where one is named; and where to go on from, None at the
    end. The log is never counted: it only grows."""
    query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(AuditRow.id < literal(before, BigInteger))
    with database.reading() as session:
        rows = session.scalars(query).all()
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


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


def named(database: Database, ids: Collection[str]) -> dict[str, tuple[str, str]]:
    """Table and name of the jobs, models and datasets among these, those in the bin too."""
    called = func.coalesce(func.nullif(JobRow.name, ""), JobRow.title)
    queries = [
        select(table.id, literal(table.__tablename__), name).where(table.id.in_(ids))
        for table, name in (
            (JobRow, called),
            (ModelRow, ModelRow.name),
            (DatasetRow, DatasetRow.name),
        )
    ]
    with database.reading() as session:
        return {id_: (table, name) for id_, table, name in session.execute(union_all(*queries))}
