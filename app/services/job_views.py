"""What the lab says of a job: from its row, and from what is known beside it, to a view."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from app.contracts.jobs import PARENTS, JobKind, JobStatus, Queue
from app.contracts.params import TrainParams
from app.contracts.placement import Priority
from app.contracts.stored import understood
from app.contracts.views import Failure, JobView, Progress
from app.contracts.words import duration
from app.errors import Unavailable
from app.services import ownership, waiting
from app.services.changing import utc_or_none
from app.services.lab import Lab
from app.store import job_queries, marks
from app.store.placement import needs_of
from app.store.tables import JobRow


def views(lab: Lab, rows: Sequence[JobRow]) -> list[JobView]:
    """What the lab says of these rows, in their order."""
    reasons = waiting.reasons(lab, rows)
    parents = [row.id for row in rows if row.kind in PARENTS]
    children = job_queries.children_counts(lab.database, parents) if parents else {}
    tags = marks.tags_of(lab.database, JobRow, [row.id for row in rows])
    owners = ownership.names(lab, JobRow, [row.id for row in rows])
    return [
        _view(
            row,
            _waits(lab, row, reasons),
            children.get(row.id, 0),
            tags.get(row.id, ()),
            owners.get(row.id),
        )
        for row in rows
    ]


def _waits(lab: Lab, row: JobRow, reasons: Mapping[str, str]) -> str | None:
    if row.status == JobStatus.QUEUED:
        return reasons.get(row.id)
    if row.status != JobStatus.RUNNING or row.lease_until is None:
        return None
    silent = time.time() + lab.settings.lease_s - row.lease_until
    if silent < 2 / 3 * lab.settings.lease_s:  # it renews three times as often as it has to
        return None
    return (
        f"Its worker has not been heard of for {duration(silent)}. If it stays silent it is ended, "
        "and the job goes on."
    )


def _progress(status: JobStatus, reported: dict[str, Any] | None) -> Progress | None:
    """All done is said only of a job that succeeded, and of every one: saving may still fail."""
    if reported is None:
        return None
    if status is JobStatus.SUCCEEDED:
        return Progress(share=1.0, **{**reported, "eta_s": None})
    return Progress(share=min(0.99, reported["done"] / reported["total"]), **reported)


def _kind(row: JobRow) -> JobKind:
    """Raises Unavailable where a web of a newer version took it on."""
    try:
        return JobKind(row.kind)
    except ValueError:
        raise Unavailable(
            f"There are jobs of a newer version of the lab, such as {row.id}.",
            hint="This web is about to be replaced by one of that version: ask again.",
        ) from None


def _view(
    row: JobRow, waits: str | None, children: int, tags: tuple[str, ...], owner: str | None
) -> JobView:
    status = JobStatus(row.status)
    return JobView(
        id=row.id,
        kind=_kind(row),
        status=status,
        queue=Queue(row.queue),
        title=row.name or row.title,
        does=row.title,
        name=row.name,
        note=row.note,
        tags=tags,
        owner=owner,
        archived_at=utc_or_none(row.archived_at),
        pinned_at=utc_or_none(row.pinned_at),
        params=row.params,
        progress=_progress(status, row.progress),
        priority=Priority.of(row.priority),
        needs=needs_of(row),
        worker=row.worker,
        attempt=row.attempt,
        cancel_requested=row.cancel_requested,
        created_at=_utc(row.created_at),
        started_at=utc_or_none(row.started_at),
        finished_at=utc_or_none(row.finished_at),
        thinned_at=utc_or_none(row.thinned_at),
        expected_s=row.expected_s,
        waiting_because=waits,
        failure=Failure(**row.failure) if row.failure else None,
        has_result=row.result_file is not None,
        result_name=row.result_name,
        parent=row.parent_id,
        children=children,
    )


def recipe_name(job: JobView) -> str:
    """How a training learns, as papers call it; empty for other jobs and unknown parameters."""
    if job.kind is not JobKind.TRAIN:
        return ""
    params = understood(TrainParams, job.params)
    return "" if params is None else params.recipe_name


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
