"""Which ends of jobs the webhook has still to hear of.

Each job is marked once the webhook took its news. A place in a list of ends would not do: a job's
end is dated before it is written, so that an earlier one can appear behind a later one.
"""

from __future__ import annotations

import time

from sqlalchemy import ColumnElement, delete, func, select, tuple_, update

from app.store.db import Database, Turn
from app.store.tables import JobRow, WebhookRow

KEPT_S = 7 * 24 * 3600.0
"""For how long news that nobody takes is worth another try."""
_ONE = 1


def begin(database: Database) -> None:
    """From now on ends are announced; where they are already, all that is due stays due."""
    if state(database) is None:
        with database.writing(Turn.REGISTER) as session:
            if session.get(WebhookRow, _ONE) is None:
                session.add(WebhookRow(id=_ONE, since=time.time()))


def end(database: Database) -> None:
    """No webhook is set any more; one that is set later hears of nothing that ended before."""
    if state(database) is not None:
        with database.writing() as session:
            session.execute(delete(WebhookRow))


def state(database: Database) -> WebhookRow | None:
    with database.reading() as session:
        return session.get(WebhookRow, _ONE)


def _due() -> tuple[ColumnElement[bool], ...]:
    since = select(WebhookRow.since).where(WebhookRow.id == _ONE).scalar_subquery()
    return (
        JobRow.announced_at.is_(None),
        JobRow.finished_at >= since,
        JobRow.finished_at >= time.time() - KEPT_S,
        JobRow.deleted_at.is_(None),
    )


def due(database: Database, *, after: tuple[float, str]) -> JobRow | None:
    """The job to announce next, by when it ended.

    Args:
        after: The end and the id of the one that was tried last; behind the last job the first
            one follows.
    """
    ended = (JobRow.finished_at, JobRow.id)
    query = select(JobRow).where(*_due()).order_by(*ended).limit(1)
    with database.reading() as session:
        return session.scalar(query.where(tuple_(*ended) > after)) or session.scalar(query)


def count(database: Database) -> int:
    """How many jobs are to be announced."""
    with database.reading() as session:
        return session.scalar(select(func.count(JobRow.id)).where(*_due())) or 0


def taken(database: Database, job_id: str) -> None:
    """The webhook took the news of a job."""
    with database.writing() as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(announced_at=time.time()))
        session.execute(update(WebhookRow).values(failure=""))


def not_taken(database: Database, why: str) -> None:
    """The webhook did not."""
    with database.writing() as session:
        session.execute(update(WebhookRow).values(failure=why))
