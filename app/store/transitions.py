"""How a job's row changes: conditional UPDATEs and numbered events, inside a transaction."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from app.contracts.events import Event, StateEvent
from app.contracts.jobs import TRANSITIONS, JobStatus
from app.store.tables import DatasetRow, EventRow, JobRow, ModelRow, ShardRow

Held = type[JobRow] | type[ModelRow] | type[DatasetRow]


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
    moved = touched(session, statement)
    if moved and new.is_final:
        _drop_passing(session, [job_id])
    return moved


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
    ids = [job_id for job_id, _ in moved]
    if ids and new.is_final:
        _drop_passing(session, ids)
    return ids


def _drop_passing(session: Session, ids: Collection[str]) -> None:
    """What only unfinished jobs have goes with their end, whichever it is: previews, and parts."""
    previews = EventRow.job_id.in_(ids), EventRow.type == "preview"
    session.execute(delete(EventRow).where(*previews))
    session.execute(delete(ShardRow).where(ShardRow.job_id.in_(ids)))


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


def hold(session: Session, table: Held, *conditions: Any) -> None:
    """Keep others from rows until the transaction ends, before many are changed.

    All who do so keep to one order, so that no two wait for each other: jobs before models and
    datasets, parents before their children, and else by id; what belongs to a row, as its parts,
    its tags and its events do, after it.
    """
    first = (JobRow.parent_id.is_not(None),) if issubclass(table, JobRow) else ()
    rows = select(table.id).where(*conditions).order_by(*first, table.id)
    session.execute(rows.with_for_update(key_share=True)).all()


def touched(session: Session, statement: Any) -> bool:
    """Whether a statement changed the one row that it is about."""
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    return result.rowcount == 1
