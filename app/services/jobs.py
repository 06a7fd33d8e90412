"""Jobs: submit, look, cancel, and put right what a lost message or worker left behind."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from app.contracts.jobs import QUEUE_OF, JobKind, JobStatus, Queue
from app.contracts.params import (
    EvaluateParams,
    ExplainParams,
    Goal,
    ImportParams,
    Params,
    Recipe,
    TrainParams,
)
from app.contracts.results import JobResult
from app.contracts.views import Failure, Health, JobView, Page, Progress, QueueHealth
from app.errors import Conflict, InvalidInput, NotFound
from app.services.lab import Lab
from app.settings import VERSION
from app.store import catalogue, jobs
from app.store.jobs import StoredEvent
from app.store.tables import DatasetRow, JobRow, ModelRow

_RESULT: TypeAdapter[JobResult] = TypeAdapter(JobResult)
_RESEND_AFTER_S = 30.0
_UPLOAD_KEPT_S = 3600.0
_BIN_KEPT_S = 7 * 24 * 3600.0


def submit(
    lab: Lab, kind: JobKind, params: Params, *, idempotency_key: str | None = None
) -> JobView:
    """Check what only the store can check, write the job, commit, then wake a worker.

    Raises InvalidInput when the parameters do not fit what the lab has; Conflict when the key
    belongs to another request.
    """
    body, queue = params.model_dump(mode="json"), QUEUE_OF[kind]
    digest = _digest(kind, body)
    # Before the checks: what fitted then may not fit now, and the answer stays the same.
    if idempotency_key and (first := jobs.with_key(lab.database, idempotency_key)):
        return _repeated(lab, first, digest)
    now = time.time()
    row = JobRow(
        id=uuid.uuid4().hex,
        kind=kind,
        status=JobStatus.QUEUED,
        queue=queue,
        title=_TITLE_OF[kind](lab, params),
        params=body,
        created_at=now,
        sent_at=now,  # as good as sent, so that the reconciler does not send it too
        attempt=0,
        fence=0,
        cancel_requested=False,
        last_event=0,
        idempotency_key=idempotency_key,
        request_digest=digest,
    )
    try:
        jobs.add(lab.database, row)
    except jobs.DuplicateKey as taken:
        return _repeated(lab, taken.job, digest)
    if not lab.broker.send(row.id, queue):
        jobs.mark_sent(lab.database, row.id, at=None)
    return get(lab, row.id)


def _digest(kind: JobKind, body: dict[str, Any]) -> str:
    text = json.dumps([kind, body], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _repeated(lab: Lab, first: JobRow, digest: str) -> JobView:
    if first.request_digest != digest:
        raise Conflict(
            "This Idempotency-Key was used for another request.", hint="Use a new key for each job."
        )
    return get(lab, first.id)


def _dataset(lab: Lab, dataset_id: str) -> DatasetRow:
    row = catalogue.dataset(lab.database, dataset_id)
    if row is None:
        raise InvalidInput(
            "There is no such dataset.", hint="See the datasets page.", field="dataset"
        )
    return row


def _model(lab: Lab, model_id: str, field: str) -> ModelRow:
    row = catalogue.model(lab.database, model_id)
    if row is None:
        raise InvalidInput("There is no such model.", hint="See the models page.", field=field)
    return row


def _same_classes(model: ModelRow, classes: Sequence[str], field: str, other: str) -> None:
    if list(model.card["classes"]) != list(classes):
        raise InvalidInput(
            f"The model “{model.name}” has other classes than {other}.",
            hint="Choose a model that was trained on the same classes, in the same order.",
            field=field,
        )


def _check_import(lab: Lab, params: Params) -> str:
    assert isinstance(params, ImportParams)
    if catalogue.dataset_named(lab.database, params.name) is not None:
        raise InvalidInput(
            f"There is a dataset named “{params.name}” already.",
            hint="Choose another name.",
            field="name",
        )
    if params.upload is not None and catalogue.upload(lab.database, params.upload) is None:
        raise InvalidInput("There is no such upload.", field="upload")
    return f"Import {params.name}"


def _check_train(lab: Lab, params: Params) -> str:
    assert isinstance(params, TrainParams)
    dataset = _dataset(lab, params.dataset)
    if params.recipe is Recipe.AGKD_BML:
        assert params.teacher is not None
        teacher = _model(lab, params.teacher, "teacher")
        other = f"the dataset “{dataset.name}”"
        _same_classes(teacher, dataset.report["classes"], "teacher", other)
        _same_family(teacher, params)
    if params.continue_from is not None:
        _check_continue(lab, params)
    return f"Train {params.name} on {dataset.name}"


def _same_family(teacher: ModelRow, params: TrainParams) -> None:
    """Attention maps are compared position by position, so they need one resolution."""
    theirs, ours = teacher.card["architecture"], params.architecture
    if theirs.split("-")[0] != ours.split("-")[0]:
        raise InvalidInput(
            f"The teacher is a {theirs}, whose attention maps do not fit those of a {ours}.",
            hint="Choose an architecture of the teacher's family.",
            field="architecture",
        )
    if params.start_from_teacher and theirs != ours:
        raise InvalidInput(
            f"A {ours} cannot start from the weights of a {theirs}.",
            hint=f"Switch “Start from the teacher” off, or use {theirs}.",
            field="start_from_teacher",
        )


def _check_continue(lab: Lab, params: TrainParams) -> None:
    assert params.continue_from is not None
    row = jobs.get(lab.database, params.continue_from)
    if row is None or row.kind != JobKind.TRAIN:
        raise InvalidInput("There is no such training job.", field="continue_from")
    if not JobStatus(row.status).is_final or row.status == JobStatus.SUCCEEDED:
        raise InvalidInput(
            f"That job is {row.status}; only a cancelled or failed one can be continued.",
            field="continue_from",
        )
    if not any(lab.files.checkpoints(row.id).glob("*.pt")):
        raise InvalidInput(
            "That job left no checkpoint.", hint="Train from the start.", field="continue_from"
        )
    free = {"name", "continue_from"}
    if TrainParams.model_validate(row.params).model_dump(exclude=free) != params.model_dump(
        exclude=free
    ):
        raise InvalidInput(
            "A continued job keeps its parameters; only the name may change.",
            field="continue_from",
        )


def _check_evaluate(lab: Lab, params: Params) -> str:
    assert isinstance(params, EvaluateParams)
    dataset = _dataset(lab, params.dataset)
    found = catalogue.models_by_id(lab.database, params.models)
    for model_id in params.models:
        if model_id not in found:
            raise InvalidInput("There is no such model.", field="models")
        other = f"the dataset “{dataset.name}”"
        _same_classes(found[model_id], dataset.report["classes"], "models", other)
    _check_target(params.attack.goal, params.attack.target_class, dataset.report["classes"])
    return f"Evaluate {', '.join(found[m].name for m in params.models)}"[:300]


def _check_target(goal: Goal, target: str | None, classes: Sequence[str]) -> None:
    if goal is Goal.CLASS and target not in classes:
        raise InvalidInput(
            "The target class is not a class of the model.",
            hint=f"One of: {', '.join(classes[:20])}.",
            field="target_class",
        )


def _check_explain(lab: Lab, params: Params) -> str:
    assert isinstance(params, ExplainParams)
    teacher = _model(lab, params.teacher, "teacher")
    student = _model(lab, params.student, "student")
    classes = teacher.card["classes"]
    _same_classes(student, classes, "student", f"the teacher “{teacher.name}”")
    _check_target(params.attack.goal, params.attack.target_class, classes)
    if params.label is not None and params.label not in classes:
        raise InvalidInput(
            "The true class is not a class of the models.",
            hint=f"One of: {', '.join(classes[:20])}.",
            field="label",
        )
    upload = catalogue.upload(lab.database, params.upload)
    if upload is None:
        raise InvalidInput("There is no such upload.", field="upload")
    return f"Explain {upload.filename}"[:300]


_TITLE_OF: dict[JobKind, Callable[[Lab, Params], str]] = {
    JobKind.IMPORT: _check_import,
    JobKind.TRAIN: _check_train,
    JobKind.EVALUATE: _check_evaluate,
    JobKind.EXPLAIN: _check_explain,
}


def get(lab: Lab, job_id: str) -> JobView:
    """One job. Raises NotFound."""
    row = _row(lab, job_id)
    return _view(row, _reasons(lab, [row]))


def _row(lab: Lab, job_id: str) -> JobRow:
    row = jobs.get(lab.database, job_id)
    if row is None:
        raise NotFound("There is no such job.", hint="See the list of jobs on the dashboard.")
    return row


def page(
    lab: Lab,
    *,
    kinds: Sequence[JobKind] = (),
    statuses: Sequence[JobStatus] = (),
    page: int = 1,
    page_size: int = 20,
) -> Page[JobView]:
    """Jobs, newest first."""
    rows, total = jobs.page(
        lab.database,
        kinds=kinds,
        statuses=statuses,
        offset=(page - 1) * page_size,
        limit=page_size,
    )
    reasons = _reasons(lab, rows)
    items = tuple(_view(row, reasons) for row in rows)
    return Page[JobView](items=items, total=total, page=page, page_size=page_size)


def _reasons(lab: Lab, rows: Sequence[JobRow]) -> dict[Queue, str]:
    """Why a queued job waits, by queue; asks the broker once, and only when a job waits."""
    if all(row.status != JobStatus.QUEUED for row in rows):
        return {}
    workers = lab.broker.workers()
    if workers is None:
        return dict.fromkeys(Queue, "The broker does not answer; the job is kept and sent later.")
    active = jobs.counts(lab.database)
    return {queue: _reason(queue, workers[queue], active) for queue in Queue}


def _reason(queue: Queue, workers: int, active: dict[tuple[Queue, JobStatus], int]) -> str:
    if workers == 0:
        return f"No worker serves the queue “{queue}”; start one, or restart the lab."
    running = active.get((queue, JobStatus.RUNNING), 0)
    if running:
        jobs_run = "a job runs" if running == 1 else f"{running} jobs run"
        return f"The queue “{queue}” is busy: {jobs_run} before it."
    return "A worker is about to take it."


def _progress(status: JobStatus, reported: dict[str, Any] | None) -> Progress | None:
    """All done is said only of a job that succeeded: saving may still fail."""
    if reported is None:
        return None
    most = 1.0 if status is JobStatus.SUCCEEDED else 0.99
    return Progress(share=min(most, reported["done"] / reported["total"]), **reported)


def _view(row: JobRow, reasons: dict[Queue, str]) -> JobView:
    status = JobStatus(row.status)
    return JobView(
        id=row.id,
        kind=JobKind(row.kind),
        status=status,
        queue=Queue(row.queue),
        title=row.title,
        params=row.params,
        progress=_progress(status, row.progress),
        attempt=row.attempt,
        cancel_requested=row.cancel_requested,
        created_at=_utc(row.created_at),
        started_at=None if row.started_at is None else _utc(row.started_at),
        finished_at=None if row.finished_at is None else _utc(row.finished_at),
        waiting_because=reasons.get(Queue(row.queue)) if status is JobStatus.QUEUED else None,
        failure=Failure(**row.failure) if row.failure else None,
        has_result=row.result_file is not None,
    )


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def result(lab: Lab, job_id: str) -> JobResult:
    """What the job left. Raises NotFound, and Conflict while there is nothing yet."""
    return _RESULT.validate_json(result_json(lab, job_id))


def result_json(lab: Lab, job_id: str) -> bytes:
    """The result as the worker wrote it. Raises NotFound and Conflict."""
    row = _row(lab, job_id)
    if row.result_file is None:
        raise Conflict(f"The job is {row.status} and has no result.", hint="Follow its events.")
    try:
        return lab.files.result(job_id).read_bytes()
    except FileNotFoundError:
        raise NotFound("The result's file is gone.", hint="Submit the job again.") from None


def events(lab: Lab, job_id: str, after: int = 0) -> list[StoredEvent]:
    """Up to 500 of the job's events with a number above `after`, in order."""
    return jobs.events_after(lab.database, job_id, after)


def charts_and_log(lab: Lab, job_id: str) -> list[StoredEvent]:
    """All metrics and log lines of a job, in order."""
    return jobs.events_of_type(lab.database, job_id, ["metrics", "log"])


def cancel(lab: Lab, job_id: str) -> JobView:
    """End a queued job, or ask a running one to end at its next step. Raises NotFound, Conflict."""
    row = _row(lab, job_id)
    if not jobs.request_cancel(lab.database, job_id):
        now = _row(lab, job_id).status
        raise Conflict(f"The job is over: it is {now}.", hint="Only unfinished jobs end early.")
    lab.broker.ring(row.id)
    return get(lab, job_id)


def uses_model(lab: Lab, model_id: str) -> JobRow | None:
    """An unfinished job that needs a model, if there is one."""
    unfinished = jobs.unfinished(lab.database)
    return next((row for row in unfinished if model_id in json.dumps(row.params)), None)


def reconcile(lab: Lab) -> None:
    """Give lost jobs back to the queue, and tell the broker again about what nobody took."""
    for job_id in jobs.release_expired(lab.database):
        lab.broker.ring(job_id)
    for job_id, queue in jobs.unsent(lab.database, older_than_s=_RESEND_AFTER_S):
        # A message that still waits needs no copy; without this, a long queue would fill up.
        if lab.broker.waiting(queue) == 0 and lab.broker.send(job_id, queue):
            jobs.mark_sent(lab.database, job_id, at=time.time())
    needed = [row.params.get("upload") or "" for row in jobs.unfinished(lab.database)]
    for upload_id in catalogue.drop_uploads(lab.database, older_than_s=_UPLOAD_KEPT_S, keep=needed):
        lab.files.upload(upload_id).unlink(missing_ok=True)
    for model_id in catalogue.drop_binned_models(lab.database, older_than_s=_BIN_KEPT_S):
        lab.files.weights(model_id).unlink(missing_ok=True)


def health(lab: Lab) -> Health:
    """Whether database, broker and workers answer."""
    database = lab.database.answers()
    workers = lab.broker.workers()
    active = jobs.counts(lab.database) if database else {}
    queues = tuple(
        QueueHealth(
            queue=queue,
            waiting=active.get((queue, JobStatus.QUEUED), 0),
            running=active.get((queue, JobStatus.RUNNING), 0),
            workers=workers[queue] if workers else 0,
        )
        for queue in Queue
    )
    ok = database and workers is not None and all(q.workers for q in queues)
    return Health(
        ok=ok, version=VERSION, database=database, broker=workers is not None, queues=queues
    )
