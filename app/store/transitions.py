"""How a job's row changes: conditional UPDATEs and numbered events, inside a transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from app.contracts.events import Event, StateEvent
from app.contracts.jobs import TRANSITIONS, JobStatus
from app.store.tables import EventRow, JobRow


def move(
    session: Session, job_id: str, old: JobStatus, new: JobStatus, *conditions: Any, **values: Any
) -> bool:
    """The one transition: changes nothing unless the job is in `old` and `conditions` hold."""
    assert new in TRANSITIONS[old], f"{old} -> {new}"
    statement = (
        update(JobRow)
        .where(JobRow.id == job_id, JobRow.status == old, *conditions)
        .values(status=new, **values)
        .execution_options(synchronize_session=False)
    )
    return touched(session, statement)


def move_all(
    session: Session, old: JobStatus, new: JobStatus, *conditions: Any, **values: Any
) -> list[str]:
    """The same for all jobs that meet the conditions, each with its event; returns their ids."""
    assert new in TRANSITIONS[old], f"{old} -> {new}"
    moved = session.execute(
        update(JobRow)
        .where(JobRow.status == old, *conditions)
        .values(status=new, last_event=JobRow.last_event + 1, **values)
        .returning(JobRow.id, JobRow.last_event)
        .execution_options(synchronize_session=False)
    ).all()
    now, event = time.time(), StateEvent(status=new)
    rows = [
        {"job_id": job_id, "seq": seq, "type": event.type, "at": now, "body": event.model_dump()}
        for job_id, seq in moved
    ]
    if rows:
        session.execute(insert(EventRow), rows)
    return [job_id for job_id, _ in moved]


def append(
    session: Session, job_id: str, events: Sequence[Event], *conditions: Any, **values: Any
) -> bool:
    """Number and write events, unless the job's row does not meet the `conditions`; the UPDATE of
    the counter keeps numbers free of gaps, and sets the `values` too."""
    last = session.execute(
        update(JobRow)
        .where(JobRow.id == job_id, *conditions)
        .values(last_event=JobRow.last_event + len(events), **values)
        .returning(JobRow.last_event)
        .execution_options(synchronize_session=False)
    ).scalar()
    if last is None:
        return False
    now, first = time.time(), last - len(events) + 1
    rows = [
        {"job_id": job_id, "seq": first + i, "type": e.type, "at": now, "body": e.model_dump()}
        for i, e in enumerate(events)
    ]
    session.execute(insert(EventRow), rows)
    return True


def hold(session: Session, ids: Any, *conditions: Any) -> None:
    """Keep others from rows until the transaction ends, before many are changed: all who do so keep
    to one order, so that no two wait for each other.

    `ids`: the column of ids of their table.
    """
    rows = select(ids).where(*conditions).order_by(ids)
    session.execute(rows.with_for_update(key_share=True)).all()


def touched(session: Session, statement: Any) -> bool:
    """Whether a statement changed the one row that it is about."""
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    return result.rowcount == 1
