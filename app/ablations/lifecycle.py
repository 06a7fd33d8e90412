"""Ablations: a parent's row follows its children's. No worker runs it; SQL alone moves it on.

Whoever sees a child end calls `advance`, and so does the reconciler: repeating or losing a call
changes no outcome. A call that finds another one before it writes nothing.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from app.ablations.family import Family, evaluation_id, training_id
from app.ablations.tables import table
from app.contracts.events import LogEvent, LogLevel, ProgressEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import AblationParams, Params
from app.contracts.results import AblationResult
from app.contracts.stored import UNREAD_PARAMS
from app.errors import JobError
from app.store import jobs, parents
from app.store.db import Database
from app.store.files import Files
from app.store.parents import Step
from app.store.tables import JobRow

_LOG = logging.getLogger("lab.ablations")
_LOG_CHARACTERS = 2000


def trainings(parent_id: str, params: Params) -> list[JobRow]:
    """The rows of the trainings, to be added with the parent, in the order of the table.

    None where the parameters are those of another kind of job. The reconciler sends one whenever
    its queue is empty, so that other jobs need not wait for all.
    """
    if not isinstance(params, AblationParams):
        return []
    now = time.time()
    return [
        jobs.queued(
            JobKind.TRAIN,
            f"Train {planned.params.name}",
            planned.params,
            job_id=training_id(parent_id, planned.row, planned.seed),
            parent_id=parent_id,
            created_at=now + number / 1000,  # lists and workers keep the order
            sent=False,
        )
        for number, planned in enumerate(params.trainings())
    ]


def advance(database: Database, files: Files, parent_id: str) -> bool:
    """Move a parent on as far as its children allow; whether this call changed anything.

    It submits the evaluation of each training that left a model, reports progress, and settles the
    parent once all is over: as succeeded where one training succeeded.
    """
    found = parents.unfinished(database, [parent_id])
    return any(_take(database, files, Family.of(parent)) for parent in found)


def advance_all(database: Database, files: Files) -> list[str]:
    """The same for every unfinished parent; returns the ids of those that changed.

    One that cannot be moved on is logged, and holds up no other.
    """
    found = map(Family.of, parents.unfinished(database))
    return [family.parent.id for family in found if _took(database, files, family)]


def request_cancel(database: Database, files: Files, parent_id: str) -> list[str] | None:
    """End a parent's waiting children, ask the running ones to end, and submit no more.

    Returns the ids of these children; None where the parent is over.
    """
    asked = parents.request_cancel(database, parent_id)
    if asked is not None:
        advance(database, files, parent_id)
    return asked


def _took(database: Database, files: Files, family: Family) -> bool:
    try:
        return _take(database, files, family)
    except Exception:  # such as parameters of another version of the lab
        _LOG.exception("ablation %s cannot be moved on", family.parent.id)
        return False


def _take(database: Database, files: Files, family: Family) -> bool:
    """Take the next step, if there is one; whether it was this call that took it."""
    step = _step(family)
    if not step:
        return False
    if step.outcome is JobStatus.SUCCEEDED:
        step = replace(step, result_file=_write_result(database, files, family))
    return parents.write(database, family.parent, step)


def _step(family: Family) -> Step:
    parent, evaluations = family.parent, _evaluations(family)
    began = any(child.status != JobStatus.QUEUED for child in family.everyone())
    over = not evaluations and all(child.is_final for child in family.everyone())
    outcome = _outcome(family) if over else None
    progress = _progress(family)
    is_news = parent.progress != progress.model_dump(exclude={"type"})
    return Step(
        begins=began and parent.status == JobStatus.QUEUED and outcome is not JobStatus.CANCELLED,
        children=evaluations,
        progress=progress if is_news and not parent.cancel_requested else None,
        log=_log(family),
        outcome=outcome,
        failure=_failure(family) if outcome is JobStatus.FAILED else None,
    )


def _outcome(family: Family) -> JobStatus:
    if family.parent.cancel_requested:
        return JobStatus.CANCELLED
    trained = any(each.status == JobStatus.SUCCEEDED for each in family.trainings)
    succeeded = trained and family.params is not None
    return JobStatus.SUCCEEDED if succeeded else JobStatus.FAILED


def _progress(family: Family) -> ProgressEvent:
    """Counts trainings and evaluations that are over, or that will not come."""
    count = len(family.trainings)
    trained = sum(each.is_final for each in family.trainings)
    phase = f"{trained} of {count} trainings over"
    if not family.measures:
        return ProgressEvent(done=trained, total=count, phase=phase)
    measured = family.measured()
    phase += f", {measured} of {count} measured"
    return ProgressEvent(done=trained + measured, total=2 * count, phase=phase)


def _write_result(database: Database, files: Files, family: Family) -> str:
    """Under a name that the row gets only if it is still the one that was read."""
    parent, params = family.parent, family.params
    assert params is not None
    found = table(database, files, parent.id, params)
    name = f"{parent.id}-{parent.last_event}"
    return files.write_result(name, AblationResult(params=params, table=found))


def _evaluations(family: Family) -> tuple[JobRow, ...]:
    """The rows of the evaluations to be submitted; the reconciler sends them too."""
    unmeasured = family.unmeasured()
    if not unmeasured:
        return ()
    params = family.params
    if params is None or params.measure is None:
        return ()
    parent_id = family.parent.id
    names = {
        training_id(parent_id, planned.row, planned.seed): planned.params.name
        for planned in params.trainings()
    }
    return tuple(
        jobs.queued(
            JobKind.EVALUATE,
            f"Evaluate {names[training.id]}",
            params.measure.of(family.models[training.id], params.training),
            job_id=evaluation_id(training.id),
            parent_id=parent_id,
            sent=False,
        )
        for training in unmeasured
    )


def _log(family: Family) -> tuple[LogEvent, ...]:
    """One line that names the children that failed."""
    failed = [child.title for child in family.everyone() if child.status == JobStatus.FAILED]
    if not failed:
        return ()
    text = f"{len(failed)} of its jobs failed: {'; '.join(failed)}"
    return (LogEvent(level=LogLevel.WARNING, text=text[:_LOG_CHARACTERS]),)


def _failure(family: Family) -> dict[str, str]:
    """None of the trainings succeeded, or there is no table to put them in."""
    if family.params is None:
        return JobError(
            UNREAD_PARAMS, hint="Submit it again; the models that it trained are there."
        ).as_failure()
    reasons = [child.failure for child in family.trainings if child.failure is not None]
    detail = f"None of its {len(family.trainings)} trainings succeeded."
    hint = "Look at its jobs, then submit it again."
    if reasons:
        detail, hint = f"{detail} The first: {reasons[0]['detail']}", reasons[0]["hint"] or hint
    return JobError(detail, hint=hint).as_failure()
