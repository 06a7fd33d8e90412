"""Jobs: submit, look, cancel."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from app.ablations import lifecycle
from app.contracts import titles
from app.contracts.jobs import PARENTS, QUEUE_OF, JobKind, JobStatus
from app.contracts.params import Params
from app.contracts.placement import Priority
from app.contracts.results import JobResult
from app.contracts.views import JobView, Page
from app.errors import Conflict, NotFound
from app.services import checks, estimates, job_views, ownership, placing, room
from app.services.lab import Lab
from app.store import acting, catalogue, job_queries, jobs
from app.store.job_queries import StoredEvent
from app.store.placement import needs_of
from app.store.tables import JobRow

_LOG = logging.getLogger("lab.jobs")
_Views = Page[JobView]
CHART_POINTS = 800
"""Points of single steps that pages show of a job."""
ENDED_EARLY = (JobStatus.CANCELLED, JobStatus.FAILED)
"""States of a job that may go on from its checkpoint."""
_RESULT: TypeAdapter[JobResult] = TypeAdapter(JobResult)


def submit(
    lab: Lab,
    kind: JobKind,
    params: Params,
    *,
    name: str = "",
    priority: Priority = Priority.NORMAL,
    idempotency_key: str | None = None,
) -> JobView:
    """Check what only the store can check, write the job, commit, then wake a worker.

    Without a `name` it is called by what it does.

    An ablation is written with its trainings, which the reconciler sends.

    Raises InvalidInput when the parameters do not fit what the lab has; Conflict when the key
    belongs to another request; TooMany and Unavailable where there is no room for it; Forbidden
    where whoever asks may not raise it above others.
    """
    placing.check(priority)
    beside = {"called": name, "priority": "" if priority is Priority.NORMAL else priority}
    beside = {what: value for what, value in beside.items() if value}
    digest = _digest(kind, _asked(lab, params) | beside)
    # Before the checks: what fitted then may not fit now, and the answer stays the same.
    if idempotency_key and (first := job_queries.with_key(lab.database, idempotency_key)):
        return _repeated(lab, first, digest)
    checks.check(lab, kind, params)
    names = catalogue.names(lab.database, titles.named_in(params))
    row = jobs.queued(kind, titles.title(params, names), params)
    children = lifecycle.trainings(row.id, params)
    room.check(lab, 1 + len(children))
    row.name = name
    row.idempotency_key, row.request_digest = idempotency_key, digest
    expected = estimates.estimate(lab, params)
    row.expected_s = None if expected is None else expected.seconds
    placing.place(lab, params, [row, *children], priority)
    try:
        jobs.add(lab.database, row, children, room=room.of(lab))
    except jobs.DuplicateKey as taken:
        return _repeated(lab, taken.job, digest)
    except jobs.NoRoom as full:  # since it was checked
        raise room.refusal(lab, full, 1 + len(children)) from full
    _LOG.info("job %s is taken on: %s", row.id, row.title, extra={"facts": {"job": row.id}})
    if kind not in PARENTS and not lab.broker.send(row.id, QUEUE_OF[kind], needs_of(row)):
        jobs.mark_sent(lab.database, row.id, at=None)
    return get(lab, row.id)


def check(
    lab: Lab, kind: JobKind, params: Params, file: str, *, idempotency_key: str | None = None
) -> None:
    """Before the file that `params` name is read and stored, which costs most: raises what `submit`
    will raise of everything else. `file`: what it is called."""
    if idempotency_key and job_queries.with_key(lab.database, idempotency_key):
        return
    checks.check(lab, kind, params, to_store=file)
    room.check(lab, 1)


def _asked(lab: Lab, params: Params) -> dict[str, Any]:
    """What makes two requests the same: of a file its content, not what this copy of it is called
    here."""
    body = params.model_dump(mode="json")
    sent = catalogue.upload(lab.database, body["upload"]) if body.get("upload") else None
    return body if sent is None else body | {"upload": sent.sha256}


def _digest(kind: JobKind, body: dict[str, Any]) -> str:
    text = json.dumps([kind, body], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _repeated(lab: Lab, first: JobRow, digest: str) -> JobView:
    if first.request_digest != digest:
        raise Conflict(
            "This Idempotency-Key was used for another request.", hint="Use a new key for each job."
        )
    if first.deleted_at is not None:
        raise Conflict(
            "The job of this Idempotency-Key is in the bin.", hint="Restore it, or use a new key."
        )
    return get(lab, first.id)


def get(lab: Lab, job_id: str) -> JobView:
    """One job. Raises NotFound."""
    (view,) = several(lab, [job_id])
    return view


def several(lab: Lab, job_ids: Sequence[str]) -> list[JobView]:
    """These jobs, in the order given, in one query. Raises NotFound."""
    return job_views.views(lab, _rows(lab, job_ids))


def _rows(lab: Lab, job_ids: Sequence[str]) -> list[JobRow]:
    rows = job_queries.by_id(lab.database, job_ids)
    if not rows.keys() >= set(job_ids):
        raise NotFound("There is no such job.", hint="See the list of jobs.")
    return [rows[job_id] for job_id in job_ids]


def _row(lab: Lab, job_id: str) -> JobRow:
    (row,) = _rows(lab, [job_id])
    return row


def page(
    lab: Lab,
    *,
    kinds: Sequence[JobKind] = (),
    statuses: Sequence[JobStatus] = (),
    parent: str | None = None,
    children: bool = True,
    measures: str | None = None,
    starts: str | None = None,
    tag: str | None = None,
    deleted: bool = False,
    page: int = 1,
    page_size: int = 20,
) -> Page[JobView]:
    """Jobs, newest first: all, those of one `parent`, or without `children` those of none.

    `measures`: the id of a model; only jobs that measure it. `starts`: how their ids begin.
    `tag`: only those that have it. `deleted`: those in the bin instead.
    """
    rows, total = job_queries.page(
        lab.database,
        kinds=kinds,
        statuses=statuses,
        parent=parent,
        children=children,
        measures=measures,
        starts=starts,
        tag=tag,
        deleted=deleted,
        offset=(page - 1) * page_size,
        limit=page_size,
    )
    items = tuple(job_views.views(lab, rows))
    return _Views(items=items, total=total, page=page, page_size=page_size)


def resumable(lab: Lab, text: str = "", *, limit: int) -> tuple[JobView, ...]:
    """Trainings that ended early and left a checkpoint, of the newest `limit` that ended early.

    `text`: only those with it in their title or at the start of their id.
    """
    rows = job_queries.ended_early_like(lab.database, text, limit=limit)
    return tuple(job_views.views(lab, [row for row in rows if lab.files.has_checkpoint(row.id)]))


def can_go_on(lab: Lab, job: JobView) -> bool:
    """Whether a training ended early and left a checkpoint."""
    return job.status in ENDED_EARLY and lab.files.has_checkpoint(job.id)


def finished_evaluations(lab: Lab, text: str = "", *, limit: int) -> tuple[JobView, ...]:
    """Evaluations that succeeded, newest first, with `text` in their title or name, or at the start
    of their id.
    """
    return tuple(
        job_views.views(lab, job_queries.evaluations_like(lab.database, text, limit=limit))
    )


def result(lab: Lab, job_id: str) -> JobResult:
    """What the job left. Raises NotFound, and Conflict while there is nothing yet, and where an
    earlier version left it in another form."""
    return _read(result_json(lab, job_id))


def result_of(lab: Lab, job: JobView) -> JobResult:
    """The same of a job at hand, without a query. Raises NotFound and Conflict."""
    return _read(_result_json(lab, job.result_name, job.status, has_one=job.has_result))


def _read(data: bytes) -> JobResult:
    try:
        return _RESULT.validate_json(data)
    except ValidationError:
        raise Conflict(
            "An earlier version of the lab left this result, in a form that is not read any more.",
            hint="Run the job again.",
        ) from None


def result_json(lab: Lab, job_id: str) -> bytes:
    """The result as the worker wrote it. Raises NotFound and Conflict."""
    row = _row(lab, job_id)
    return _result_json(lab, row.result_name, row.status, has_one=row.result_file is not None)


def _result_json(lab: Lab, name: str, status: str, *, has_one: bool) -> bytes:
    if not has_one:
        raise Conflict(f"The job is {status} and has no result.", hint="Follow its events.")
    try:
        return lab.files.here(lab.files.result(name)).read_bytes()
    except FileNotFoundError:
        raise NotFound("The result's file is gone.", hint="Submit the job again.") from None


def events(lab: Lab, job_id: str, after: int = 0) -> list[StoredEvent]:
    """Up to 500 of the job's events with a number above `after`, in order."""
    return job_queries.events_after(lab.database, job_id, after)


def charts_and_log(lab: Lab, job_id: str) -> list[StoredEvent]:
    """Metrics and log lines of a job, in order; of a long training, as many as a chart shows."""
    return job_queries.charts_and_log(lab.database, job_id, points=CHART_POINTS)


def cancel(lab: Lab, job_id: str) -> JobView:
    """End a queued job, or ask a running one to end at its next step; an ablation with its jobs.

    Raises NotFound, Conflict.
    """
    row = _row(lab, job_id)
    ownership.check(lab, JobRow, [job_id])
    acting.concerns(job_id)
    concerned = _request_cancel(lab, row)
    if concerned is None:
        now = _row(lab, job_id).status
        raise Conflict(f"The job is over: it is {now}.", hint="Only unfinished jobs end early.")
    for each in concerned:
        lab.broker.ring(each)
    return get(lab, job_id)


def _request_cancel(lab: Lab, row: JobRow) -> list[str] | None:
    """The jobs whose followers have to hear of it; None where the job is over."""
    if row.kind not in PARENTS:
        return [row.id] if jobs.request_cancel(lab.database, row.id) else None
    children = lifecycle.request_cancel(lab.database, lab.files, row.id)
    return None if children is None else [*children, row.id]


def using(lab: Lab, ids: Collection[str]) -> JobRow | None:
    """An unfinished job that needs one of these models or datasets, if there is one."""
    unfinished = [(row, json.dumps(row.params)) for row in job_queries.unfinished(lab.database)]
    return next((row for row, params in unfinished if any(id_ in params for id_ in ids)), None)
