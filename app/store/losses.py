"""Attempts that end through no fault of their job: back to the queue with it, or to its end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, or_, select

from app.contracts.events import LogEvent, LogLevel, StateEvent
from app.contracts.jobs import MAX_ATTEMPTS, JobStatus
from app.errors import JobError
from app.store.db import Database
from app.store.jobs import Claim, LeaseLost, held
from app.store.tables import JobRow
from app.store.transitions import append, move

_SKEW_S = 1.0
"""By so much the clocks of a worker and of who looks may differ."""


@dataclass(frozen=True)
class Loss:
    """Why an attempt ended."""

    log: str
    """A line of the job's log; {} stands for the attempt's number."""
    failure: JobError
    """Where it was the last attempt."""

    @classmethod
    def of_worker(cls, how: str = "") -> Loss:
        """`how`: what became of the worker, `ended by SIGKILL`; empty where nobody knows."""
        last = f" (the last: {how})" if how else ""
        return cls(
            f"The worker of attempt {{}} was lost{how and ': '}{how}.",
            JobError(
                f"Its worker was lost {MAX_ATTEMPTS} times{last}, and nothing was gained between.",
                hint="The worker may run out of memory: try a smaller batch size, and look at its "
                "log.",
            ),
        )

    @classmethod
    def of_room(cls, trouble: str) -> Loss:
        """`trouble`: what disk, database or storage are short of (`app.errors.trouble`)."""
        return cls(
            f"Attempt {{}} ended: {trouble} The job goes on when that is over.",
            JobError(
                f"{trouble} {MAX_ATTEMPTS} attempts ended so, and nothing was gained between.",
                hint="Make room on the disk, or see to what does not answer; then submit the job "
                "again.",
            ),
        )


class Leases:
    """Who looks for leases that are over, again and again.

    A lease is over by the clock; but clocks jump, and a worker may wait for a locked database as
    everybody else does. So a job is taken from its worker only where the same lease was found over
    for a while, by a clock that does not jump.
    """

    def __init__(self, lease_s: float) -> None:
        """`lease_s`: for how long workers claim and renew; each renews three times as often."""
        self._lease_s, self._grace_s = lease_s, lease_s / 2
        self._since: dict[tuple[str, int, float | None], float] = {}

    def release(self, database: Database) -> list[str]:
        """Take jobs from workers that stopped renewing; returns their ids."""
        now, late = time.monotonic(), _late(database, self._lease_s)
        found = {(job.id, job.fence, job.lease_until): job for job in late}
        self._since = {lease: self._since.get(lease, now) for lease in found}
        due = [job for lease, job in found.items() if now - self._since[lease] >= self._grace_s]
        return [job.id for job in due if _released(database, job)]


def release_expired(database: Database, *, lease_s: float) -> list[str]:
    """The same at once, by the clock alone."""
    return [job.id for job in _late(database, lease_s) if _released(database, job)]


def _late(database: Database, lease_s: float) -> list[JobRow]:
    """Whose lease is over, or ends later than any can: then the clock was set back."""
    with database.reading() as session:
        late = JobRow.status == JobStatus.RUNNING, _is_late(lease_s)
        return list(session.scalars(select(JobRow).where(*late)))


def _is_late(lease_s: float) -> ColumnElement[bool]:
    now = time.time()
    return or_(JobRow.lease_until < now, JobRow.lease_until > now + lease_s + _SKEW_S)


def _released(database: Database, job: JobRow) -> bool:
    same = JobRow.id == job.id, JobRow.fence == job.fence, JobRow.lease_until == job.lease_until
    return _end_attempt(database, Loss.of_worker(), JobRow.status == JobStatus.RUNNING, *same)


def give_up(database: Database, claim: Claim, loss: Loss) -> None:
    """End an attempt, which counts: the job goes back to the queue, or fails with its last one.

    Raises LeaseLost.
    """
    if not _end_attempt(database, loss, *held(claim)):
        raise LeaseLost


def _end_attempt(database: Database, loss: Loss, *running: Any) -> bool:
    """Whether it was this call that did; not where no job is such any more.

    `running`: what is true of the one that runs.
    """
    with database.writing() as session:
        # Held: whether somebody asks for its end meanwhile, and how often it was tried, decides.
        job = session.scalar(select(JobRow).where(*running).with_for_update(key_share=True))
        if job is None:
            return False
        now, values = time.time(), dict[str, Any]({"lease_until": None, "sent_at": None})
        if job.cancel_requested:
            new = JobStatus.CANCELLED
            values |= {"finished_at": now}
        elif job.attempt >= MAX_ATTEMPTS:
            new = JobStatus.FAILED
            values |= {"finished_at": now, "failure": loss.failure.as_failure()}
        else:
            new = JobStatus.QUEUED
            values |= {"returned_at": now}
        said = LogEvent(level=LogLevel.WARNING, text=loss.log.format(job.attempt))
        move(session, job.id, JobStatus.RUNNING, new, **values)
        append(session, job.id, [said, StateEvent(status=new, attempt=job.attempt)])
    return True
