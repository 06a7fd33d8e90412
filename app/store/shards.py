"""The parts of evaluations that any free worker takes, each with a lease of its own.

They are no jobs, and stand in no list: their evaluation is one. A part is free where nobody's lease
on it runs, and belongs to whom its fence is. It is not taken, and its holder loses it, once the
evaluation is over or is to end; with the end of the job the parts go (`app.store.transitions`).
What parts there are is said by the worker that has the job, under the proof of that fence.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.orm import Session

from app.contracts.events import Event
from app.contracts.jobs import MAX_ATTEMPTS, JobKind
from app.store.db import Database, Looks
from app.store.job_queries import UNFINISHED
from app.store.jobs import Claim, LeaseLost, held
from app.store.placement import is_drained
from app.store.tables import JobRow, ShardRow
from app.store.transitions import append, hold, touched


@dataclass(frozen=True)
class ShardClaim:
    """The right to measure a part for a while; `fence` proves it in every later write."""

    job_id: str
    number: int
    attempt: int
    fence: int
    params: dict[str, Any]
    """Those of the evaluation."""
    request_id: str | None


@dataclass(frozen=True)
class Shard:
    """How a part stands."""

    number: int
    attempt: int
    held: bool
    """Whether a lease on it runs."""
    worker: str | None
    done: float
    finished: bool
    failure: dict[str, Any] | None


def divide(
    database: Database, claim: Claim, count: int, facts: str, *, shared: bool
) -> Sequence[int]:
    """See to it that a job has its parts, numbered from 0; those of other `facts` begin anew.

    `shared`: whether other workers may take them. Returns which of them were begun, and begin anew.
    Raises LeaseLost.
    """
    of_job = ShardRow.job_id == claim.job_id
    of_others, begun = (of_job, ShardRow.facts != facts), ShardRow.fence > 0
    with _holding(database, claim) as session:
        known = set(session.scalars(select(ShardRow.number).where(of_job)))
        for number in set(range(count)) - known:
            session.add(ShardRow(job_id=claim.job_id, number=number, facts=facts, shared=shared))
        lost = session.scalars(select(ShardRow.number).where(*of_others, begun)).all()
        session.execute(
            update(ShardRow)
            .where(*of_others)
            .values(
                facts=facts, fence=ShardRow.fence + 1, attempt=0, lease_until=None, done=0.0,
                finished_at=None, failure=None,
            )
        )  # fmt: skip
    return lost


@contextmanager
def _holding(database: Database, claim: Claim) -> Iterator[Session]:
    """A transaction about the parts of a job, whose own row comes first: who ends it, and its parts
    with it, waits. Raises LeaseLost."""
    with database.writing() as session:
        mine = select(JobRow.id).where(*held(claim)).with_for_update(key_share=True)
        if session.scalar(mine) is None:
            raise LeaseLost
        yield session


def claim_of(database: Database, claim: Claim, *, worker: str, lease_s: float) -> ShardClaim | None:
    """For the worker that has the job: its next free part, the lowest first; None for none."""
    with database.writing() as session:
        return _take(session, (ShardRow.job_id == claim.job_id,), worker, lease_s)


def claim_any(database: Database, facts: str, *, worker: str, lease_s: float) -> ShardClaim | None:
    """For a free worker: a free part of the evaluation that waits for the longest time; none for
    one that is drained."""
    may = ShardRow.facts == facts, ShardRow.shared.is_(True), ~is_drained(worker)
    with database.writing() as session:
        return _take(session, may, worker, lease_s)


def free_count(database: Database, *, lease_s: float) -> int:
    """How many parts a free worker could take, were its environment the right one."""
    with database.reading() as session:
        found = select(func.count()).select_from(ShardRow).join(JobRow, _JOB)
        free = *_free(lease_s), ShardRow.shared.is_(True), *_wanted()
        return session.scalar(found.where(*free)) or 0


def holders(database: Database) -> set[str]:
    """The workers that have parts now, by name."""
    query = select(ShardRow.worker).where(
        ShardRow.finished_at.is_(None), ShardRow.lease_until >= time.time()
    )
    with database.reading() as session:
        return {worker for worker in session.scalars(query) if worker is not None}


_JOB = JobRow.id == ShardRow.job_id


def _free(lease_s: float) -> tuple[ColumnElement[bool], ...]:
    """Also where a lease ends later than any can: then the clock was set back. `now` may be older
    by as long as writers wait for each other.
    """
    now, until = time.time(), ShardRow.lease_until
    lapsed = or_(until.is_(None), until < now, until > now + 2 * lease_s)
    open_ = ShardRow.finished_at.is_(None), ShardRow.failure.is_(None)
    return *open_, ShardRow.attempt < MAX_ATTEMPTS, lapsed


def _wanted() -> tuple[ColumnElement[bool], ...]:
    return JobRow.status.in_(UNFINISHED), ~JobRow.cancel_requested


def _take(
    session: Session, conditions: Sequence[ColumnElement[bool]], worker: str, lease_s: float
) -> ShardClaim | None:
    # First the evaluation, then its part: in order of both, every claim would sort all parts.
    free = *conditions, *_free(lease_s)
    of_one = select(ShardRow.number).where(_JOB, *free).exists()
    oldest = (
        select(JobRow.id)
        .where(JobRow.kind == JobKind.EVALUATE, *_wanted(), of_one)
        .order_by(JobRow.created_at, JobRow.id)
        .limit(1)
    )
    job_id = session.scalar(oldest)
    parts = select(ShardRow.job_id, ShardRow.number).where(ShardRow.job_id == job_id, *free)
    lowest = parts.order_by(ShardRow.number).limit(1).with_for_update(skip_locked=True)
    found = session.execute(lowest).first()
    if found is None:
        return None
    session.execute(
        update(ShardRow)
        .where(ShardRow.job_id == found.job_id, ShardRow.number == found.number)
        .values(
            attempt=ShardRow.attempt + 1,
            fence=ShardRow.fence + 1,
            lease_until=time.time() + lease_s,
            worker=worker[:200],
        )
        .execution_options(synchronize_session=False)
    )
    shard = session.get_one(ShardRow, (found.job_id, found.number), populate_existing=True)
    job = session.get_one(JobRow, found.job_id)
    return ShardClaim(job.id, shard.number, shard.attempt, shard.fence, job.params, job.request_id)


def _held(claim: ShardClaim) -> tuple[ColumnElement[bool], ...]:
    of_job = ShardRow.job_id == claim.job_id, ShardRow.number == claim.number
    return (*of_job, ShardRow.fence == claim.fence, ShardRow.finished_at.is_(None))


def _change(database: Database, claim: ShardClaim, **values: Any) -> None:
    """Raises LeaseLost."""
    with database.writing() as session:
        if not touched(session, update(ShardRow).where(*_held(claim)).values(**values)):
            raise LeaseLost


def renew(database: Database, claim: ShardClaim, *, lease_s: float) -> None:
    """Hold it for another `lease_s`. Raises LeaseLost."""
    _change(database, claim, lease_until=time.time() + lease_s)


def note(database: Database, claim: ShardClaim, done: float) -> None:
    """How far it is. Raises LeaseLost."""
    _change(database, claim, done=done)


def forgive(database: Database, claim: ShardClaim) -> None:
    """Count this attempt as the first, as `jobs.forgive`. Raises LeaseLost."""
    _change(database, claim, attempt=1)


def give_back(database: Database, claim: ShardClaim) -> None:
    """Its worker is being stopped, or short of something: not counted as an attempt. Raises
    LeaseLost, also where it was given back before."""
    holds = update(ShardRow).where(*_held(claim), ShardRow.lease_until.is_not(None))
    with database.writing() as session:
        back = holds.values(lease_until=None, attempt=ShardRow.attempt - 1)
        if not touched(session, back):
            raise LeaseLost


def finish(database: Database, claim: ShardClaim, done: float) -> None:
    """It is measured, and what came of it is on the disk. Raises LeaseLost."""
    _change(database, claim, finished_at=time.time(), lease_until=None, done=done)


def fail(database: Database, claim: ShardClaim, failure: dict[str, Any]) -> None:
    """Its evaluation will end with this. Raises LeaseLost."""
    _change(database, claim, failure=failure, lease_until=None)


def drop(database: Database, claim: Claim, *, first: int) -> None:
    """Nobody needs the parts from this one on. Raises LeaseLost."""
    rest = ShardRow.job_id == claim.job_id, ShardRow.number >= first
    with _holding(database, claim) as session:
        session.execute(delete(ShardRow).where(*rest))


def begin_anew(database: Database, claim: Claim, number: int) -> None:
    """What came of a part cannot be read: it is to be measured again, by nobody's fault. Raises
    LeaseLost."""
    part = ShardRow.job_id == claim.job_id, ShardRow.number == number
    anew = update(ShardRow).where(*part).values(finished_at=None, done=0.0, attempt=0)
    with _holding(database, claim) as session:
        session.execute(anew)


def must_end(looks: Looks, claim: ShardClaim) -> bool:
    """Whether the evaluation is to end. Raises LeaseLost, also where it is over."""
    query = select(JobRow.cancel_requested).join(ShardRow, _JOB)
    with looks.looking() as connection:
        flag = connection.scalar(query.where(*_held(claim), JobRow.status.in_(UNFINISHED)))
    if flag is None:
        raise LeaseLost
    return flag


def report(database: Database, claim: ShardClaim, events: Sequence[Event]) -> None:
    """Append events to the evaluation's. Raises LeaseLost."""
    with database.writing() as session:
        hold(session, JobRow, JobRow.id == claim.job_id)
        if not touched(session, update(ShardRow).where(*_held(claim)).values(fence=claim.fence)):
            raise LeaseLost
        append(session, claim.job_id, events)


def of_job(database: Database, job_id: str) -> list[Shard]:
    """A job's parts, in order."""
    query = select(ShardRow).where(ShardRow.job_id == job_id).order_by(ShardRow.number)
    now = time.time()
    with database.reading() as session:
        return [
            Shard(
                number=row.number,
                attempt=row.attempt,
                held=row.lease_until is not None and row.lease_until >= now,
                worker=row.worker,
                done=row.done,
                finished=row.finished_at is not None,
                failure=row.failure,
            )
            for row in session.scalars(query)
        ]


def is_given_up(shard: Shard) -> bool:
    """Whether its workers were lost too often, with nothing gained between."""
    return not (shard.finished or shard.held) and shard.attempt >= MAX_ATTEMPTS
