"""What the first page asks for, each in a query that an index answers."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Select, exists, func, select

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.recipes import TEACHERS
from app.store.db import Database
from app.store.tables import DatasetRow, JobRow, ModelRow


def beginnings(database: Database) -> tuple[bool, ...]:
    """Whether there is, outside the bin: a dataset, a model that came with the code, one that a job
    of this lab trained, one trained on clean images, one trained to resist."""
    origin = func.coalesce(ModelRow.origin, "trained")
    kept = ModelRow.deleted_at.is_(None)
    asked = (
        exists().where(DatasetRow.deleted_at.is_(None)),
        exists().where(kept, ModelRow.job_id.is_(None), origin == "shipped"),
        exists().where(kept, ModelRow.recipe.is_not(None), origin == "trained"),
        exists().where(kept, ModelRow.recipe.in_(TEACHERS)),
        exists().where(kept, ModelRow.recipe.not_in(TEACHERS)),
    )
    with database.reading() as session:
        return tuple(session.execute(select(*asked)).one())


def newest(
    database: Database,
    *,
    kinds: Collection[JobKind],
    statuses: Collection[JobStatus],
    limit: int,
) -> list[JobRow]:
    """Jobs on the list that are no part of another one, newest first."""
    query: Select[JobRow] = select(JobRow).where(*_listed(kinds, statuses))
    newest_first = query.order_by(JobRow.created_at.desc(), JobRow.id.desc())
    with database.reading() as session:
        return list(session.scalars(newest_first.limit(limit)))


def count(
    database: Database, *, kinds: Collection[JobKind], statuses: Collection[JobStatus]
) -> int:
    """How many such jobs there are."""
    query = select(func.count()).select_from(JobRow).where(*_listed(kinds, statuses))
    with database.reading() as session:
        return session.scalar(query) or 0


def _listed(
    kinds: Collection[JobKind], statuses: Collection[JobStatus]
) -> tuple[ColumnElement[bool], ...]:
    return (
        JobRow.deleted_at.is_(None),
        JobRow.archived_at.is_(None),
        JobRow.parent_id.is_(None),
        JobRow.kind.in_(kinds),
        JobRow.status.in_(statuses),
    )
