"""What jobs reported long ago, thinned to what pages show of it.

States, warnings, errors and figures of whole epochs stay, all of them. Of the figures of single
steps those stay that a chart draws, so a page shows the same before and after.
"""

from __future__ import annotations

import time

from sqlalchemy import Select, delete, func, or_, select, update

from app.contracts.events import LogLevel
from app.store.db import Database
from app.store.job_queries import spare_points
from app.store.tables import EventRow, JobRow
from app.store.transitions import touched

KEPT_LINES = 100
"""Lines of a log that are no warnings stay where they are among so many first or last ones."""


def due(database: Database, *, older_than_s: float, limit: int) -> list[str]:
    """Up to `limit` jobs that ended so long ago and are whole still."""
    ended = JobRow.finished_at < time.time() - older_than_s
    with database.reading() as session:
        whole = select(JobRow.id).where(ended, JobRow.thinned_at.is_(None)).limit(limit)
        return list(session.scalars(whole))


def thin(database: Database, job_id: str, *, points: int) -> None:
    """Thin one job that is over, once. `points`: as `job_queries.charts_and_log` has them."""
    whole = update(JobRow).where(JobRow.id == job_id, JobRow.thinned_at.is_(None))
    with database.writing() as session:
        # First, and held: of a job that is thinned already another half would go.
        if not touched(session, whole.values(thinned_at=time.time())):
            return
        spare = [EventRow.type == "progress", EventRow.seq.in_(_spare_lines(job_id))]
        if (unseen := spare_points(session, job_id, points)) is not None:
            spare.append(EventRow.seq.in_(unseen))
        session.execute(delete(EventRow).where(EventRow.job_id == job_id, or_(*spare)))


def _spare_lines(job_id: str) -> Select[int]:
    plain = (
        EventRow.job_id == job_id,
        EventRow.type == "log",
        EventRow.body["level"].as_string() == LogLevel.INFO,
    )
    before = func.row_number().over(order_by=EventRow.seq).label("before")
    after = func.row_number().over(order_by=EventRow.seq.desc()).label("after")
    lines = select(EventRow.seq, before, after).where(*plain).subquery()
    return select(lines.c.seq).where(lines.c.before > KEPT_LINES, lines.c.after > KEPT_LINES)
