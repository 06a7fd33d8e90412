"""The truth about jobs, and every change of it (`app.store.job_queries` only looks).

Each transition is one conditional UPDATE on (id, status, fence).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, case, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

import journal
from app.contracts.events import Event, ProgressEvent, StateEvent
from app.contracts.jobs import PARENTS, QUEUE_OF, JobKind, JobStatus, Queue
from app.contracts.params import Params
from app.contracts.placement import Offer, needs_of
from app.contracts.results import EvaluationSummary
from app.settings import RELEASE
from app.store import acting, measurements, placement
from app.store.db import Database, Looks, Turn
from app.store.job_queries import UNFINISHED, unfinished_of, with_key
from app.store.tables import EventRow, JobRow, MeasurementRow
from app.store.transitions import append, move, touched


class LeaseLost(Exception):
    """The job belongs to another worker now, or is over; stop without touching it."""


class NoRoom(Exception):
    """So many jobs of all, or `of_owner` of one account, are unfinished that no more may be."""

    def __init__(self, waiting: int, *, of_owner: bool) -> None:
        super().__init__(waiting)
        self.waiting, self.of_owner = waiting, of_owner


@dataclass(frozen=True)
class Room:
    """How many jobs may be unfinished at once: all, and each account's."""

    most: int
    most_of_owner: int


class DuplicateKey(Exception):
    """The idempotency key belongs to `job` already."""

    def __init__(self, job: JobRow) -> None:
        super().__init__(job.id)
        self.job = job


@dataclass(frozen=True)
class Claim:
    """The right to run a job for a while. `fence` proves it in every later write."""

    job_id: str
    kind: JobKind
    params: dict[str, Any]
    attempt: int
    fence: int
    parent_id: str | None = None
    request_id: str | None = None
    """What the request is called that asked for the job."""

    @classmethod
    def of(cls, row: JobRow, fence: int) -> Claim:
        """That of an attempt, which may be over."""
        kind, asked = JobKind(row.kind), (row.parent_id, row.request_id)
        return cls(row.id, kind, row.params, row.attempt, fence, *asked)

    @property
    def result_name(self) -> str:
        """What this attempt calls its files, and no other one."""
        return f"{self.job_id}-{self.fence}"


def queued(
    kind: JobKind,
    title: str,
    params: Params,
    *,
    job_id: str | None = None,
    parent_id: str | None = None,
    created_at: float | None = None,
    sent: bool = True,
) -> JobRow:
    """The row of a new job, to be added.

    `sent`: whether the broker is about to be told, so that the reconciler need not do it too.
    """
    now, needs = time.time(), needs_of(params)
    return JobRow(
        id=job_id or uuid.uuid4().hex,
        parent_id=parent_id,
        request_id=journal.request.get() or None,
        kind=kind,
        status=JobStatus.QUEUED,
        queue=QUEUE_OF[kind],
        title=title[:300],
        params=params.model_dump(mode="json"),
        created_at=created_at or now,
        sent_at=now if sent else None,
        needs_gpus=needs.gpus,
        release=RELEASE,
        attempt=0,
        fence=0,
        cancel_requested=False,
        last_event=0,
    )


def add(
    database: Database, job: JobRow, children: Sequence[JobRow] = (), *, room: Room | None = None
) -> None:
    """Write a new queued job, with its children if it is a parent; all of them or none.

    `room`: what there has to be for it; None where nobody asks for the job but the lab itself.
    Raises NoRoom, and DuplicateKey when its idempotency key is taken.
    """
    if (act := acting.current()) is not None:
        for row in (job, *children):
            row.owner_id = act.user_id
    acting.concerns(job.id)
    try:
        with database.writing(None if room is None else Turn.SUBMIT) as session:
            if room is not None:
                _check_room(session, room, job.owner_id, 1 + len(children))
            add_all(session, [job, *children])
    except IntegrityError as error:
        if job.idempotency_key is None:
            raise
        taken = with_key(database, job.idempotency_key)
        if taken is None:
            raise
        raise DuplicateKey(taken) from error


def _check_room(session: Session, room: Room, owner_id: str | None, more: int) -> None:
    """In one turn with what is added: who counts at the same moment would add as well."""
    waiting = session.scalar(unfinished_of(None)) or 0
    if waiting + more > room.most:
        raise NoRoom(waiting, of_owner=False)
    if owner_id is None:
        return
    waiting = session.scalar(unfinished_of(owner_id)) or 0
    if waiting + more > room.most_of_owner:
        raise NoRoom(waiting, of_owner=True)


def add_all(session: Session, rows: Sequence[JobRow]) -> None:
    """Write new queued jobs, each with its first event. Raises IntegrityError."""
    event = StateEvent(status=JobStatus.QUEUED)
    body, now = event.model_dump(), time.time()
    for row in rows:
        row.last_event = 1
    session.add_all(rows)
    session.flush()
    session.add_all(
        EventRow(job_id=row.id, seq=1, type=event.type, at=now, body=body) for row in rows
    )


def claim(
    database: Database, job_id: str, *, lease_s: float, worker: str | None = None
) -> Claim | None:
    """Take this queued job, whoever else waits; None when it is not queued, or a parent.

    `worker`: who takes it, by name.
    """
    with database.writing() as session:
        return _take(session, job_id, lease_s, worker)


def claim_next(database: Database, queue: Queue, offer: Offer, *, lease_s: float) -> Claim | None:
    """Take the job that a worker of the queue does next (`placement.next_job`); None where none
    waits that it may take."""
    next_one = placement.next_job(queue, offer, now=time.time())
    # Where writers do not take turns: another worker's choice is left to it, so that many need not
    # wait for each other; a row that is held for another reason is waited for.
    choices = next_one.with_for_update(of=JobRow, skip_locked=True), next_one
    with database.writing() as session:
        for choice in choices:
            while (job_id := session.scalar(choice)) is not None:
                if (claim := _take(session, job_id, lease_s, offer.name)) is not None:
                    return claim
        return None


def waits(database: Database, queue: Queue, offer: Offer) -> bool:
    """Whether a job waits that this worker of the queue may take."""
    with database.reading() as session:
        return session.scalar(placement.next_job(queue, offer, now=time.time())) is not None


def _take(session: Session, job_id: str, lease_s: float, worker: str | None) -> Claim | None:
    now = time.time()
    taken = move(
        session,
        job_id,
        JobStatus.QUEUED,
        JobStatus.RUNNING,
        JobRow.kind.not_in(PARENTS),
        attempt=JobRow.attempt + 1,
        fence=JobRow.fence + 1,
        lease_until=now + lease_s,
        started_at=func.coalesce(JobRow.started_at, now),
        claimed_at=now,
        worker=worker,
        # What this code goes on with, older code would not know.
        release=case((JobRow.release < RELEASE, RELEASE), else_=JobRow.release),
    )
    if not taken:
        return None
    job = session.get_one(JobRow, job_id)
    append(session, job_id, [StateEvent(status=JobStatus.RUNNING, attempt=job.attempt)])
    return Claim.of(job, job.fence)


def held(claim: Claim) -> tuple[Any, ...]:
    """Conditions of a row: the job is this claim's still."""
    return _held(claim.job_id, claim.fence)


def _held(job_id: Any, fence: Any) -> tuple[Any, ...]:
    return JobRow.id == job_id, JobRow.status == JobStatus.RUNNING, JobRow.fence == fence


_CANCEL_REQUESTED = select(JobRow.cancel_requested).where(
    *_held(bindparam("job_id"), bindparam("fence"))
)
"""Made once: to make it takes as long as to ask it."""


def renew(database: Database, claim: Claim, *, lease_s: float) -> None:
    """Hold the job for another `lease_s`. Raises LeaseLost."""
    statement = update(JobRow).where(*held(claim)).values(lease_until=time.time() + lease_s)
    with database.writing() as session:
        if not touched(session, statement):
            raise LeaseLost


def forgive(database: Database, claim: Claim) -> None:
    """Count this attempt as the first: what it has done so far is not lost with its worker.

    So only workers lost one after the other, with nothing gained between, make a job fail: a
    machine that restarts every night ends no long training. Raises LeaseLost.
    """
    with database.writing() as session:
        if not touched(session, update(JobRow).where(*held(claim)).values(attempt=1)):
            raise LeaseLost


def cancel_requested(looks: Looks, claim: Claim) -> bool:
    """Whether someone asked for the job's end. Raises LeaseLost."""
    with looks.looking() as connection:
        which = {"job_id": claim.job_id, "fence": claim.fence}
        flag = connection.scalar(_CANCEL_REQUESTED, which)
    if flag is None:
        raise LeaseLost
    return flag


def report(database: Database, claim: Claim, events: Sequence[Event]) -> None:
    """Append events; the last progress among them becomes the row's. Raises LeaseLost."""
    values: dict[str, Any] = {}
    for event in events:
        if isinstance(event, ProgressEvent):
            values["progress"] = event.model_dump(exclude={"type"})
    with database.writing() as session:
        if not append(session, claim.job_id, events, *held(claim), **values):
            raise LeaseLost


def settle(
    database: Database,
    claim: Claim,
    status: JobStatus,
    *,
    failure: dict[str, Any] | None = None,
    result_file: str | None = None,
    summary: EvaluationSummary | None = None,
    rows: Sequence[Any] = (),
) -> None:
    """End the job and write the rows that its success brings, in one transaction.

    Raises LeaseLost, and then writes nothing; SQLAlchemy's IntegrityError when a row clashes.
    """
    now = time.time()
    values: dict[str, Any] = {"failure": failure, "result_file": result_file}
    values |= measurements.best_trained(rows)
    if summary is not None:
        measured = measurements.of_evaluation(claim.job_id, now, summary)
        values |= {"summary": summary.model_dump(mode="json"), **measurements.best_of(measured)}
        rows = [*rows, *measured]
    with database.writing() as session:
        ended = move(
            session,
            claim.job_id,
            JobStatus.RUNNING,
            status,
            JobRow.fence == claim.fence,
            finished_at=now,
            lease_until=None,
            **values,
        )
        if not ended:
            raise LeaseLost
        session.add_all(rows)
        if summary is not None:
            measurements.note_latest(session, MeasurementRow.job_id == claim.job_id)
        append(session, claim.job_id, [StateEvent(status=status, attempt=claim.attempt)])


def give_back(database: Database, claim: Claim) -> None:
    """Return a job to the queue because its worker is being stopped; not counted as an attempt.

    A job whose end was asked for ends here instead. Raises LeaseLost.
    """
    held, now = JobRow.fence == claim.fence, time.time()
    back: dict[str, Any] = {"attempt": JobRow.attempt - 1, "lease_until": None, "sent_at": None}
    back |= {"returned_at": now}
    end: dict[str, Any] = {"finished_at": now, "lease_until": None}
    outcomes = (
        (JobStatus.QUEUED, ~JobRow.cancel_requested, back),
        (JobStatus.CANCELLED, JobRow.cancel_requested, end),
    )
    with database.writing() as session:
        for new, condition, values in outcomes:
            if move(session, claim.job_id, JobStatus.RUNNING, new, held, condition, **values):
                append(session, claim.job_id, [StateEvent(status=new)])
                return
        raise LeaseLost


def request_cancel(database: Database, job_id: str) -> bool:
    """End a queued job, or ask a running one to end. False when it is over already."""
    asked = update(JobRow).where(JobRow.id == job_id, JobRow.status.in_(UNFINISHED))
    with database.writing() as session:
        # The flag first, which keeps workers from the row: between two looks at its state it could
        # be given back.
        if not touched(session, asked.values(cancel_requested=True)):
            return False
        waiting, over = JobStatus.QUEUED, JobStatus.CANCELLED
        if move(session, job_id, waiting, over, finished_at=time.time()):
            append(session, job_id, [StateEvent(status=over)])
        return True


def mark_sent(database: Database, job_id: str, *, at: float | None) -> None:
    """Note when the broker was told about a job; None when it must be told again."""
    with database.writing() as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(sent_at=at))
