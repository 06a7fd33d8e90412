"""One attempt of one job: claim it, hold its lease, run it, settle the outcome."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError, IntegrityError

import journal
from app.ablations import lifecycle
from app.contracts.events import LogLevel
from app.contracts.jobs import JobKind, JobStatus, Queue
from app.contracts.params import PARAMS_OF
from app.contracts.placement import needs_of
from app.contracts.stored import UNREAD_PARAMS, understood
from app.errors import JobError, trouble
from app.store import job_queries, jobs, losses, shards
from app.store.files import named_as
from app.store.jobs import Claim, LeaseLost
from worker.jobs.context import (
    AttemptLost,
    Cancelled,
    Interrupted,
    JobContext,
    Outcome,
    WorkerLab,
)
from worker.jobs.failing import explained
from worker.jobs.lease import renewed

_log = logging.getLogger(__name__)
_TRIES = 5


def run_next(lab: WorkerLab, queue: Queue, *, stopping: Callable[[], bool]) -> JobStatus | None:
    """Run what a queue has next; None when there is nothing, or it was given back.

    Nothing is begun on a full disk, while the storage is away, nor on a schema of a version that
    this code does not know; the reconciler tells again of what waits.
    """
    if not _may_begin(lab):
        return None
    claim = jobs.claim_next(lab.database, queue, lab.offer, lease_s=lab.settings.lease_s)
    return None if claim is None else _run(lab, claim, stopping)


def _may_begin(lab: WorkerLab) -> bool:
    if (why := lab.database.misfit()) is not None:
        _log.warning("%s", why)
        return False
    enough = lab.files.free() >= lab.settings.min_free_mb * 2**20
    return enough and lab.files.trouble() is None


def help_out(lab: WorkerLab, *, stopping: Callable[[], bool]) -> bool:
    """Measure parts of evaluations that other workers have; whether there was one.

    Ends when there is none left, or when a job waits for this worker. As `run_next`, it begins
    nothing on a full disk.
    """
    if not _may_begin(lab):
        return False
    if not shards.free_count(lab.database, lease_s=lab.settings.lease_s):
        return False
    from worker.jobs.helping import Helper

    helper = Helper(lab, stopping)
    while helper.took_one():
        pass
    return helper.helped


def run_job(lab: WorkerLab, job_id: str, *, stopping: Callable[[], bool]) -> JobStatus | None:
    """Run a queued job to its end; None when it was not ours to run, or was given back."""
    lease_s, name = lab.settings.lease_s, lab.offer.name
    claim = jobs.claim(lab.database, job_id, lease_s=lease_s, worker=name)
    return None if claim is None else _run(lab, claim, stopping)


def _run(lab: WorkerLab, claim: Claim, stopping: Callable[[], bool]) -> JobStatus | None:
    facts = {"job": claim.job_id, "attempt": claim.attempt}
    token = journal.request.set(claim.request_id or "")
    _log.info("%s begins", claim.kind, extra={"facts": facts})
    lab.ring(claim.job_id)
    _tell_parent(lab, claim)
    try:
        context = JobContext(lab, claim, stopping)
        with lab.pulse.holding(claim), _lease(lab, claim), context:
            status = _attempt(lab, claim, context)
        _log.info("%s: %s", claim.kind, status or "given back", extra={"facts": facts})
        return status
    except LeaseLost:
        _log.warning("job %s: the lease was lost; another worker has it", claim.job_id)
        return None
    finally:
        lab.ring(claim.job_id)
        _tell_parent(lab, claim)
        journal.request.reset(token)


def engine() -> dict[JobKind, Callable[[JobContext, Any], Outcome]]:
    """What runs each kind of job.

    Torch is imported here: what only looks at rows or prints a usage needs none of it.
    """
    from worker.jobs import evaluation, explain, importing, importing_model, releasing, training

    return {
        JobKind.IMPORT: importing.run,
        JobKind.TRAIN: training.run,
        JobKind.EVALUATE: evaluation.run,
        JobKind.EXPLAIN: explain.run,
        JobKind.IMPORT_MODEL: importing_model.run,
        JobKind.RELEASE: releasing.run,
    }


def load() -> None:
    """Import what jobs need, before there is one."""
    engine()
    # The first optimiser of a process would, and take a second for it.
    import torch._dynamo  # noqa: F401


def _tell_parent(lab: WorkerLab, claim: Claim) -> None:
    """Let the parent follow at once; where that fails, the reconciler sees to it."""
    if claim.parent_id is None:
        return
    try:
        if lifecycle.advance(lab.database, lab.files, claim.parent_id):
            lab.ring(claim.parent_id)
    except Exception:
        _log.exception("job %s: its parent was not told", claim.job_id)


def _lease(lab: WorkerLab, claim: Claim) -> AbstractContextManager[None]:
    lease_s = lab.settings.lease_s
    renew = partial(jobs.renew, lab.database, claim, lease_s=lease_s)
    return renewed(f"job {claim.job_id}", renew, lease_s=lease_s, lost=lab.pulse.lose)


def _attempt(lab: WorkerLab, claim: Claim, context: JobContext) -> JobStatus | None:
    try:
        params = understood(PARAMS_OF[claim.kind], claim.params)
        if params is None:
            raise JobError(UNREAD_PARAMS, hint="Submit it again.")
        if needs := needs_of(params).gpus:
            from worker import registry

            registry.check_gpus(needs)
        outcome = engine()[claim.kind](context, params)
        status = JobStatus.SUCCEEDED
        try:
            for path in outcome.files:
                context.store(lab.files.keep, path)
            file = context.store(lab.files.write_result, claim.result_name, outcome.result)
            context.insist(
                jobs.settle, status,
                result_file=file, summary=outcome.summary, rows=outcome.rows,
            )  # fmt: skip
        except (LeaseLost, IntegrityError, OSError, Cancelled, Interrupted):
            _withdraw(lab, claim, outcome)
            raise
        for path in (*outcome.scratch, *_of_earlier_attempts(lab, claim)):
            lab.files.drop(path)
    except Cancelled:
        status = JobStatus.CANCELLED
        context.insist(jobs.settle, status)
    except Interrupted:
        _give_back(context)
        return None
    except AttemptLost as lost:
        context.insist(losses.give_up, lost.loss)
        return None
    except LeaseLost:
        raise
    except Exception as error:
        if (passing := trouble(error)) is not None:
            if context.stopping():  # it was not waited for
                _give_back(context)
            else:
                context.insist(losses.give_up, losses.Loss.of_room(passing))
            return None
        status = JobStatus.FAILED
        failure = explained(error, f"job {claim.job_id}")
        context.log(f"{failure['detail']} {failure['hint']}".strip()[:2000], LogLevel.ERROR)
        context.insist(jobs.settle, status, failure=failure)
    return status


def _give_back(context: JobContext) -> None:
    """Return a job because its worker is being stopped, which waits only so long for a database
    that is locked, or being started again as well: else the attempt would count."""
    for left in reversed(range(_TRIES)):
        try:
            context.flush()
            jobs.give_back(context.lab.database, context.claim)
            break
        except DBAPIError as error:
            if trouble(error) is None or not left:
                raise
            time.sleep(1.0)


def _of_earlier_attempts(lab: WorkerLab, claim: Claim) -> list[Path]:
    """What a worker left that died between its result and the row that would have named it."""
    left = lab.files.left_by(claim.job_id)
    return [path for path in left if named_as(path.parent.name, path.name) != claim.result_name]


def _withdraw(lab: WorkerLab, claim: Claim, outcome: Outcome) -> None:
    """Remove what was written and no row names.

    A database that went away while it took the row may have it all the same.
    """
    row = job_queries.get(lab.database, claim.job_id)
    if row is None or row.result_name != claim.result_name:
        for path in (*outcome.files, lab.files.result(claim.result_name)):
            lab.files.drop(path)
