"""Looking at jobs and their events; nothing here changes any."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, func, literal, or_, select, union_all
from sqlalchemy.orm import Session

from app.contracts.jobs import PARENTS, JobKind, JobStatus, Queue
from app.contracts.listings import Shelf
from app.store.db import Database
from app.store.marks import on_shelf, owned, tagged
from app.store.paging import page_of
from app.store.tables import EventRow, JobRow, MeasurementRow

UNFINISHED = tuple(status for status in JobStatus if not status.is_final)


@dataclass(frozen=True)
class StoredEvent:
    seq: int
    at: float
    body: dict[str, Any]


def get(database: Database, job_id: str) -> JobRow | None:
    with database.reading() as session:
        return session.get(JobRow, job_id)


def last_event(database: Database, job_id: str) -> int:
    """How many events a job has; asked while it runs."""
    with database.looking() as connection:
        return connection.scalar(select(JobRow.last_event).where(JobRow.id == job_id)) or 0


def by_id(database: Database, ids: Collection[str]) -> dict[str, JobRow]:
    """The jobs among `ids`, in one query; those in the bin are left out."""
    query = select(JobRow).where(JobRow.id.in_(ids), JobRow.deleted_at.is_(None))
    with database.reading() as session:
        return {row.id: row for row in session.scalars(query)}


def with_key(database: Database, idempotency_key: str) -> JobRow | None:
    """The job that was submitted under a key."""
    query = select(JobRow).where(JobRow.idempotency_key == idempotency_key)
    with database.reading() as session:
        return session.scalars(query).one_or_none()


def _filtered(
    kinds: Sequence[JobKind],
    statuses: Sequence[JobStatus],
    parent: str | None,
    children: bool,
    measures: str | None,
    starts: str | None,
    tag: str | None,
    deleted: bool,
) -> Select[JobRow]:
    gone = JobRow.deleted_at.is_not(None)
    query = select(JobRow).where(gone if deleted else ~gone)
    if tag is not None:
        query = query.where(tagged(JobRow, tag))
    if starts is not None:
        # A range, which the index of ids serves on every database; LIKE would read them all. Ids
        # are hexadecimal digits, and `g` comes after `f`.
        query = query.where(JobRow.id >= starts, JobRow.id < f"{starts}g")
    if measures is not None:
        # What is over and succeeded is in the measurements; of the others there are few.
        done = select(MeasurementRow.job_id).where(MeasurementRow.model_id == measures)
        named = JobRow.params["models"].as_string().contains(measures)
        rest = tuple(status for status in JobStatus if status is not JobStatus.SUCCEEDED)
        of_rest = (JobRow.kind == JobKind.EVALUATE, JobRow.status.in_(rest))
        others = select(JobRow.id).where(*of_rest, named)
        query = query.where(JobRow.id.in_(union_all(done, others)))
    if parent is not None:
        query = query.where(JobRow.parent_id == parent)
    elif not children:
        query = query.where(JobRow.parent_id.is_(None))
    if kinds:
        query = query.where(JobRow.kind.in_(kinds))
    if statuses:
        query = query.where(JobRow.status.in_(statuses))
    return query


def ended_early_like(database: Database, text: str, *, limit: int) -> list[JobRow]:
    """Trainings that were cancelled or failed, newest first, with `text` in their title or name,
    or at the start of their id.
    """
    ended = JobRow.status.in_((JobStatus.CANCELLED, JobStatus.FAILED))
    return _like(database, text, ended & (JobRow.kind == JobKind.TRAIN), limit)


def evaluations_like(database: Database, text: str, *, limit: int) -> list[JobRow]:
    """Evaluations that succeeded, newest first, with `text` in their title or name, or at the start
    of their id.
    """
    done = (JobRow.kind == JobKind.EVALUATE) & (JobRow.status == JobStatus.SUCCEEDED)
    return _like(database, text, done, limit)


def _like(database: Database, text: str, where: ColumnElement[bool], limit: int) -> list[JobRow]:
    like = JobRow.title.icontains(text, autoescape=True)
    like |= JobRow.name.icontains(text, autoescape=True)
    like |= JobRow.id.startswith(text.lower(), autoescape=True)
    query = select(JobRow).where(like, where, JobRow.deleted_at.is_(None))
    with database.reading() as session:
        newest = query.order_by(JobRow.created_at.desc(), JobRow.id.desc())
        return list(session.scalars(newest.limit(limit)))


def page(
    database: Database,
    *,
    kinds: Sequence[JobKind] = (),
    statuses: Sequence[JobStatus] = (),
    parent: str | None = None,
    children: bool = True,
    measures: str | None = None,
    starts: str | None = None,
    tag: str | None = None,
    deleted: bool = False,
    offset: int,
    limit: int,
) -> tuple[list[JobRow], int]:
    """Jobs, newest first, and how many there are in all; or a parent's, or those without one.

    `measures`: a model's id; only jobs that measure it. `starts`: hexadecimal digits; only jobs
    whose ids begin so. `tag`: only jobs that have it. `deleted`: those in the bin instead.
    """
    query = _filtered(kinds, statuses, parent, children, measures, starts, tag, deleted)
    newest = (JobRow.created_at.desc(), JobRow.id.desc())
    return page_of(database, JobRow, query, newest, offset=offset, limit=limit)


def unfinished(database: Database) -> list[JobRow]:
    """Every job that is queued or running, in the order in which they were submitted."""
    unfinished = select(JobRow).where(JobRow.status.in_(UNFINISHED))
    with database.reading() as session:
        return list(session.scalars(unfinished.order_by(JobRow.created_at, JobRow.id)))


def going_on_no_more(database: Database, ids: Collection[str], *, older_than_s: float) -> list[str]:
    """Those of the jobs that are over and whose checkpoints nobody needs: of trainings, from which
    another job may go on, those that ended so long ago."""
    if not ids:
        return []
    ended = JobRow.finished_at < time.time() - older_than_s
    alone = JobRow.finished_at.is_not(None) & (JobRow.kind != JobKind.TRAIN)
    with database.reading() as session:
        return list(session.scalars(select(JobRow.id).where(JobRow.id.in_(ids), ended | alone)))


def going_on_from(database: Database, ids: Collection[str]) -> JobRow | None:
    """An unfinished job that begins at the checkpoint of one of these, if there is one."""
    earlier = JobRow.params["continue_from"].as_string()
    query = select(JobRow).where(JobRow.status.in_(UNFINISHED), earlier.in_(ids)).limit(1)
    with database.reading() as session:
        return session.scalar(query)


def earlier_runs(database: Database, job_id: str, *, most: int) -> list[JobRow]:
    """The trainings that one goes on from, one after the other, the first run first; in one query.

    At most so many, the latest; those in the bin count.
    """
    step = select(
        JobRow.params["continue_from"].as_string().label("earlier"), literal(0).label("depth")
    ).where(JobRow.id == job_id)
    chain = step.cte("chain", recursive=True)
    further = select(JobRow.params["continue_from"].as_string(), chain.c.depth + 1).where(
        JobRow.id == chain.c.earlier, chain.c.depth < most
    )
    chain = chain.union_all(further)
    query = select(JobRow).join(chain, JobRow.id == chain.c.earlier).order_by(chain.c.depth.desc())
    with database.reading() as session:
        return list(session.scalars(query))


def children_of(database: Database, parents: Collection[str]) -> list[str]:
    """The ids of all children of these jobs."""
    with database.reading() as session:
        return list(session.scalars(select(JobRow.id).where(JobRow.parent_id.in_(parents))))


def pinned(database: Database, status: JobStatus) -> list[str]:
    """The ids of pinned jobs in this state on the list, the latest pinned first."""
    pinned = JobRow.pinned_at.is_not(None)
    shown = (pinned, JobRow.status == status, *on_shelf(JobRow, Shelf.LIST))
    query = select(JobRow.id).where(*shown).order_by(JobRow.pinned_at.desc(), JobRow.id)
    with database.reading() as session:
        return list(session.scalars(query))


def deleted(database: Database, ids: Collection[str]) -> dict[str, JobRow]:
    """Those of the jobs that are in the bin, in one query."""
    query = select(JobRow).where(JobRow.id.in_(ids), JobRow.deleted_at.is_not(None))
    with database.reading() as session:
        return {row.id: row for row in session.scalars(query)}


def children_counts(database: Database, parents: Sequence[str]) -> dict[str, int]:
    """How many children each of these jobs has; those without any are left out."""
    query = (
        select(JobRow.parent_id, func.count())
        .where(JobRow.parent_id.in_(parents))
        .group_by(JobRow.parent_id)
    )
    with database.reading() as session:
        return {parent: n for parent, n in session.execute(query) if parent is not None}


def first_queued(database: Database, parent: str) -> str | None:
    """The child that waits for the longest time, of those that any worker may take."""
    query = (
        select(JobRow.id)
        .where(JobRow.parent_id == parent, JobRow.status == JobStatus.QUEUED)
        .order_by(JobRow.created_at, JobRow.id)
        .limit(1)
    )
    with database.reading() as session:
        return session.scalar(query)


def result_names(database: Database, ids: Collection[str]) -> dict[str, str]:
    """What the files of the results are called, of those of the jobs that left one."""
    left = JobRow.id.in_(ids), JobRow.result_file.is_not(None)
    with database.reading() as session:
        found = session.execute(select(JobRow.id, JobRow.result_name).where(*left))
        return dict(found.tuples().all())


def unfinished_count(database: Database, owner_id: str | None = None) -> int:
    """How many jobs are not over, parents among them; all, or those of an account."""
    with database.reading() as session:
        return session.scalar(unfinished_of(owner_id)) or 0


def unfinished_of(owner_id: str | None) -> Select[int]:
    """The query of that number."""
    query = select(func.count(JobRow.id)).where(JobRow.status.in_(UNFINISHED))
    return query if owner_id is None else query.where(owned(JobRow, owner_id))


def counts(database: Database) -> dict[tuple[Queue, JobStatus], int]:
    """How many jobs are queued or running in each queue; parents wait in none."""
    query = (
        select(JobRow.queue, JobRow.status, func.count())
        .where(JobRow.status.in_(UNFINISHED), JobRow.kind.not_in(PARENTS))
        .group_by(JobRow.queue, JobRow.status)
    )
    with database.reading() as session:
        return {(Queue(q), JobStatus(s)): n for q, s, n in session.execute(query)}


def by_kind(database: Database) -> dict[tuple[str, ...], int]:
    """How many jobs that are not in the bin there are of each kind and status."""
    of = JobRow.kind, JobRow.status
    query = select(*of, func.count()).where(JobRow.deleted_at.is_(None)).group_by(*of)
    with database.reading() as session:
        return {(kind, status): count for kind, status, count in session.execute(query)}


def ended_since(database: Database, kinds: Sequence[JobKind], since: float) -> list[str]:
    """The jobs of these kinds that ended since then, the first to end first."""
    over = (JobRow.kind.in_(kinds), JobRow.status.not_in(UNFINISHED), JobRow.finished_at >= since)
    query = select(JobRow.id).where(*over, JobRow.deleted_at.is_(None))
    with database.reading() as session:
        return list(session.scalars(query.order_by(JobRow.finished_at, JobRow.id)))


def unsent(database: Database, *, older_than_s: float) -> list[tuple[str, Queue, int]]:
    """Queued jobs that the broker was not told about, or so long ago that it may have forgotten:
    their ids, their queues, and how many GPUs they need."""
    query = (
        select(JobRow.id, JobRow.queue, JobRow.needs_gpus)
        .where(
            JobRow.status == JobStatus.QUEUED,
            JobRow.kind.not_in(PARENTS),
            or_(JobRow.sent_at.is_(None), JobRow.sent_at < time.time() - older_than_s),
        )
        .order_by(JobRow.created_at, JobRow.id)
    )
    with database.reading() as session:
        return [(job_id, Queue(queue), gpus) for job_id, queue, gpus in session.execute(query)]


def events_after(database: Database, job_id: str, seq: int, limit: int = 500) -> list[StoredEvent]:
    """The job's events with a number above `seq`, in order, at most `limit`."""
    query = (
        select(EventRow.seq, EventRow.at, EventRow.body)
        .where(EventRow.job_id == job_id, EventRow.seq > literal(seq, BigInteger))
        .order_by(EventRow.seq)
        .limit(limit)
    )
    with database.reading() as session:
        return [StoredEvent(*row) for row in session.execute(query)]


def charts_and_log(database: Database, job_id: str, *, points: int) -> list[StoredEvent]:
    """A job's metrics and log lines, in order; of a long job, every few single steps' metrics, with
    the last.

    At least `points` of these are left, fewer than twice as many, and all that are not of single
    steps.
    """
    of_job = (EventRow.job_id == job_id, EventRow.type.in_(("metrics", "log")))
    with database.reading() as session:
        query = select(EventRow.seq, EventRow.at, EventRow.body).where(*of_job)
        if (spare := spare_points(session, job_id, points)) is not None:
            query = query.where(EventRow.seq.not_in(spare))
        return [StoredEvent(*row) for row in session.execute(query.order_by(EventRow.seq))]


def spare_points(session: Session, job_id: str, points: int) -> Select[int] | None:
    """The numbers of the events that `charts_and_log` leaves out; None where it has all."""
    series = EventRow.body["series"].as_string()
    single = (
        EventRow.job_id == job_id,
        EventRow.type == "metrics",
        series.in_(("step", "estimate")),
    )
    number = func.row_number().over(order_by=EventRow.seq.desc()).label("number")
    steps = select(EventRow.seq, number).where(*single).subquery()
    stride = (session.scalar(select(func.count()).select_from(steps)) or 0) // points
    return select(steps.c.seq).where(steps.c.number % stride != 1) if stride > 1 else None
