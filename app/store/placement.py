"""Which waiting job a worker takes next, why the others wait, and who takes none."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    literal,
    select,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError

from app.contracts.jobs import PARENTS, JobStatus, Queue
from app.contracts.placement import RECENT_S, Needs, Offer, Priority
from app.store import acting
from app.store.db import Database
from app.store.tables import DrainRow, JobRow
from app.store.transitions import hold

_OWNER = func.coalesce(JobRow.owner_id, "")
_FAMILY = func.coalesce(JobRow.parent_id, "")
_ANY_MEMORY_MB = 2**31 - 1
_WAITS = (JobRow.status == JobStatus.QUEUED, JobRow.kind.not_in(PARENTS))
_WITHIN = (JobRow.priority.desc(), JobRow.started_at.is_(None))
"""The highest priority, then what was interrupted: its place is at the head."""
_IN_ORDER = (JobRow.created_at, JobRow.id)
_SHARE = ("running", "seconds")


def next_job(queue: Queue, offer: Offer, *, now: float) -> Select[str]:
    """The id of the job that a worker takes: one row, or none where it may take no job.

    Of the jobs that it can run, first by priority; what was interrupted before what has not begun;
    then of the owner who has the fewest jobs running in this queue, then of the one for whom it
    worked least of late; of that owner's, likewise, the jobs of one parent beside those of others
    and those of none; and of these the oldest. Nobody starves: whoever waits works no more, and
    what was worked counts for `RECENT_S` only.
    """
    family = _worked(queue, now)
    sums = [func.sum(family.c[what]).label(what) for what in _SHARE]
    owner = select(family.c.owner, *sums).group_by(family.c.owner).cte("owner")
    least = [func.coalesce(of.c[what], 0) for of in (owner, family) for what in _SHARE]
    return (
        select(JobRow.id)
        .outerjoin(owner, owner.c.owner == _OWNER)
        .outerjoin(family, and_(family.c.owner == _OWNER, family.c.parent == _FAMILY))
        .where(*_WAITS, JobRow.queue == queue, *_runs_on(offer), ~is_drained(offer.name))
        .order_by(*_WITHIN, *least, *_IN_ORDER)
        .limit(1)
    )


def _worked(queue: Queue, now: float) -> CTE:
    """By owner and parent: how many jobs run, and for how many seconds of late any did."""
    since = now - RECENT_S[queue]
    whose = _OWNER.label("owner"), _FAMILY.label("parent"), JobRow.claimed_at.label("began")
    running = select(*whose, literal(1).label("runs"), literal(now).label("ended")).where(
        JobRow.queue == queue, JobRow.status == JobStatus.RUNNING
    )
    over = select(*whose, literal(0), JobRow.finished_at).where(
        JobRow.queue == queue, JobRow.finished_at > since, JobRow.claimed_at.is_not(None)
    )
    # Two questions, each of which an index answers however long the lab's history is.
    work = union_all(running, over).subquery("work")
    late = case((work.c.began > since, work.c.began), else_=since)
    return (
        select(
            work.c.owner,
            work.c.parent,
            func.sum(work.c.runs).label("running"),
            func.sum(work.c.ended - late).label("seconds"),
        )
        .group_by(work.c.owner, work.c.parent)
        .cte("family")
    )


def _runs_on(offer: Offer) -> tuple[ColumnElement[bool], ...]:
    """As `lacking` of the contracts."""
    room = _ANY_MEMORY_MB if offer.room_mb is None else offer.room_mb
    return (
        JobRow.needs_gpus <= len(offer.gpus),
        JobRow.needs_memory_mb <= room,
        JobRow.release <= offer.release,
    )


def is_drained(worker: str) -> ColumnElement[bool]:
    """Whether a worker, by name, is to take nothing new."""
    return exists().where(DrainRow.worker == worker)


@dataclass(frozen=True)
class Waiting:
    """Jobs of a queue that wait for the same kind of worker."""

    queue: Queue
    needs: Needs
    count: int
    since: float
    """When the one began to wait that has done so for the longest time."""
    first: str
    """The id of one of them."""


def waiting(database: Database) -> list[Waiting]:
    """All that waits, in one query."""
    needs = JobRow.needs_gpus, JobRow.needs_memory_mb, JobRow.release
    since = func.min(func.coalesce(JobRow.returned_at, JobRow.created_at))
    facts = func.count(), since, func.min(JobRow.id)
    query = select(JobRow.queue, *needs, *facts).where(*_WAITS).group_by(JobRow.queue, *needs)
    with database.reading() as session:
        return [
            Waiting(Queue(queue), _needs(*needed), count, first, example)
            for queue, *needed, count, first, example in session.execute(query)
        ]


def needs_of(row: JobRow) -> Needs:
    """What a worker has to have to run it."""
    return _needs(row.needs_gpus, row.needs_memory_mb, row.release)


def _needs(gpus: int, memory_mb: int, release: int) -> Needs:
    return Needs(gpus=gpus, memory_mb=memory_mb, release=release)


def before(database: Database, ids: Collection[str]) -> dict[str, int]:
    """By waiting job: how many jobs with the same owner and parent come before it in its queue;
    those that need a GPU only before others that do."""
    lane: dict[str, Any] = {
        "partition_by": (JobRow.queue, _OWNER, _FAMILY),
        "order_by": (*_WITHIN, *_IN_ORDER),
    }
    plain = func.sum(case((JobRow.needs_gpus == 0, 1), else_=0)).over(**lane)
    place = case((JobRow.needs_gpus == 0, plain), else_=func.row_number().over(**lane))
    placed = select(JobRow.id, (place - 1).label("before")).where(*_WAITS).subquery()
    with database.reading() as session:
        found = session.execute(select(placed.c.id, placed.c.before).where(placed.c.id.in_(ids)))
        return dict(found.tuples().all())


def rank(database: Database, ids: Collection[str], priority: Priority) -> bool:
    """Give unfinished jobs, and those of which they are the parents, another priority. Whether they
    have it now: none has where one of them is over."""
    acting.concerns(*ids)
    unfinished = JobRow.finished_at.is_(None)
    these = JobRow.id.in_(ids) | JobRow.parent_id.in_(ids), unfinished
    waits = select(func.count(JobRow.id)).where(JobRow.id.in_(ids), unfinished)
    with database.writing() as session:
        # The parents first: who submits children of theirs holds them, so all that there are by
        # then are found after that.
        hold(session, JobRow, JobRow.id.in_(ids), JobRow.parent_id.is_(None))
        hold(session, JobRow, *these)
        if session.scalar(waits) != len(set(ids)):
            return False
        session.execute(update(JobRow).where(*these).values(priority=priority.rank))
    return True


def running(database: Database) -> list[JobRow]:
    """What workers run now, in the order in which they took it."""
    query = select(JobRow).where(JobRow.status == JobStatus.RUNNING, JobRow.worker.is_not(None))
    with database.reading() as session:
        return list(session.scalars(query.order_by(JobRow.claimed_at, JobRow.id)))


def drains(database: Database) -> dict[str, DrainRow]:
    """The workers that are to take no new job, by name."""
    with database.reading() as session:
        return {row.worker: row for row in session.scalars(select(DrainRow))}


def drain(database: Database, worker: str, *, by: str) -> None:
    """Let a worker take no new job; where it may not take any already, since then."""
    acting.concerns(worker)
    try:
        with database.writing() as session:
            session.add(DrainRow(worker=worker, since=time.time(), by=by))
    except IntegrityError:
        return  # somebody else did


def resume(database: Database, worker: str) -> None:
    """Let a worker take jobs again."""
    acting.concerns(worker)
    forget(database, [worker])


def forget(database: Database, workers: Collection[str]) -> None:
    """Drop what is noted of workers."""
    with database.writing() as session:
        session.execute(delete(DrainRow).where(DrainRow.worker.in_(workers)))
