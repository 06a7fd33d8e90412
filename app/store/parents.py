"""Jobs with children: read with them in three queries, changed in one transaction.

What a parent does next is not decided here (`app.ablations`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.contracts.events import LogEvent, ProgressEvent, StateEvent
from app.contracts.jobs import PARENTS, JobStatus
from app.store import jobs
from app.store.catalogue import best_of
from app.store.db import Database
from app.store.job_queries import UNFINISHED
from app.store.tables import JobRow, ModelRow
from app.store.transitions import append, hold, move, move_all, touched


@dataclass(frozen=True)
class Child:
    """What a parent's next step depends on, of one child."""

    id: str
    kind: str
    status: str
    title: str
    failure: dict[str, Any] | None

    @property
    def is_final(self) -> bool:
        return JobStatus(self.status).is_final


_CHILDREN = select(
    JobRow.parent_id, JobRow.id, JobRow.kind, JobRow.status, JobRow.title, JobRow.failure
).order_by(JobRow.created_at, JobRow.id)


@dataclass(frozen=True)
class Parent:
    """An unfinished parent as it was read."""

    row: JobRow
    children: tuple[Child, ...]
    """In the order in which they were submitted."""
    models: dict[str, str]
    """By training: its best model, once there is one and while the lab has it."""


@dataclass(frozen=True)
class Step:
    """What is to be written of a parent; true where there is anything."""

    begins: bool = False
    """Whether it goes from queued to running."""
    children: tuple[JobRow, ...] = ()
    """New ones."""
    progress: ProgressEvent | None = None
    log: tuple[LogEvent, ...] = ()
    outcome: JobStatus | None = None
    """The state that it ends in; its log, its failure and its result are written with that."""
    failure: dict[str, Any] | None = None
    result_file: str | None = None

    def __bool__(self) -> bool:
        return bool(self.begins or self.children or self.progress or self.outcome)


def unfinished(database: Database, only: Sequence[str] | None = None) -> list[Parent]:
    """Unfinished parents, or those among `only`, in three queries however many there are."""
    wanted = [JobRow.kind.in_(PARENTS), JobRow.status.in_(UNFINISHED)]
    if only is not None:
        wanted.append(JobRow.id.in_(only))
    with database.reading() as session:
        rows = session.scalars(select(JobRow).where(*wanted)).all()
        if not rows:
            return []
        of_these = JobRow.parent_id.in_(select(JobRow.id).where(*wanted))
        found = session.execute(_CHILDREN.where(of_these)).all()
        best = best_of(select(JobRow.id).where(of_these))
        trained = session.execute(select(ModelRow.job_id, ModelRow.id).where(*best)).all()
    models = {training: model for training, model in trained if training is not None}
    children: dict[str, list[Child]] = {row.id: [] for row in rows}
    for parent_id, *facts in found:
        children[parent_id].append(Child(*facts))
    return [_parent(row, children[row.id], models) for row in rows]


def children(database: Database, parent_id: str) -> list[Child]:
    """A parent's children, in the order in which they were submitted."""
    with database.reading() as session:
        found = session.execute(_CHILDREN.where(JobRow.parent_id == parent_id)).all()
    return [Child(*facts) for _, *facts in found]


def _parent(row: JobRow, children: Sequence[Child], models: dict[str, str]) -> Parent:
    own = {child.id: models[child.id] for child in children if child.id in models}
    return Parent(row, tuple(children), own)


def write(database: Database, parent: JobRow, step: Step) -> bool:
    """Write a step, all of it or nothing; whether it was this call that did.

    Nothing is written where the row is no longer the one that was read, or where another call has
    submitted one of the children.
    """
    try:
        with database.writing() as session:
            if not _lock(session, parent):
                return False
            _write(session, parent, step)
    except IntegrityError:
        return False
    return True


def _lock(session: Session, parent: JobRow) -> bool:
    """Keep others from the parent's row; False where one of them changed it since it was read."""
    lock = update(JobRow).values(last_event=JobRow.last_event)
    unchanged = (
        JobRow.id == parent.id,
        JobRow.last_event == parent.last_event,
        JobRow.cancel_requested == parent.cancel_requested,
        JobRow.priority == parent.priority,
    )
    return touched(session, lock.where(*unchanged))


def _write(session: Session, parent: JobRow, step: Step) -> None:
    """Raises IntegrityError."""
    now, status = time.time(), JobStatus(parent.status)
    if step.begins:
        status = JobStatus.RUNNING
        move(session, parent.id, JobStatus.QUEUED, status, attempt=1, started_at=now)
        append(session, parent.id, [StateEvent(status=status, attempt=1)])
    for child in step.children:
        child.owner_id, child.priority = parent.owner_id, parent.priority
    jobs.add_all(session, step.children)
    if step.progress is not None:
        said = step.progress.model_dump(exclude={"type"})
        session.execute(update(JobRow).where(JobRow.id == parent.id).values(progress=said))
        append(session, parent.id, [step.progress])
    if step.outcome is not None:
        left = {"finished_at": now, "failure": step.failure, "result_file": step.result_file}
        move(session, parent.id, status, step.outcome, **left)
        last = StateEvent(status=step.outcome, attempt=parent.attempt)
        append(session, parent.id, [*step.log, last])


def request_cancel(database: Database, parent_id: str) -> list[str] | None:
    """End a parent's waiting children, and ask it and the running ones to end.

    Returns the ids of these children; None where the parent is over.
    """
    of_parent, unfinished = JobRow.parent_id == parent_id, JobRow.status.in_(UNFINISHED)
    flag = update(JobRow).values(cancel_requested=True).execution_options(synchronize_session=False)
    with database.writing() as session:
        # The parent first: its lock keeps others from submitting children meanwhile.
        if not touched(session, flag.where(JobRow.id == parent_id, unfinished)):
            return None
        hold(session, JobRow, of_parent, unfinished)
        # Flagged before those that wait are ended: one that is given back in between ends itself.
        asked = session.scalars(flag.where(of_parent, unfinished).returning(JobRow.id)).all()
        waiting, over = JobStatus.QUEUED, JobStatus.CANCELLED
        move_all(session, waiting, over, of_parent, finished_at=time.time())
    return list(asked)
