"""Jobs: submit, look, cancel."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Body, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.admission.routes import ByMethod
from app.api.fields import IdempotencyKey, PageSize, strict_json
from app.contracts.changes import JobChanges, Tag
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import (
    AblationParams,
    EvaluateParams,
    Id,
    Name,
    ReleaseParams,
    TrainParams,
)
from app.contracts.placement import Priority
from app.contracts.results import JobResult
from app.contracts.views import JobView, Page
from app.deps import IdPath, LabDep, PageNumber
from app.services import job_changes, jobs

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=ByMethod)


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")

    priority: Priority = Field(
        Priority.NORMAL, description="Before which others it runs; `high` is for admins."
    )


class TrainRequest(_Request):
    """Train one model and register it."""

    kind: Literal[JobKind.TRAIN]
    params: TrainParams


class EvaluateRequest(_Request):
    """Measure models under one attack."""

    kind: Literal[JobKind.EVALUATE]
    params: EvaluateParams
    name: Name | None = Field(None, description="What it is called; left out: by its models.")


class ReleaseRequest(_Request):
    """Make of a model what others need to run it without the lab."""

    kind: Literal[JobKind.RELEASE]
    params: ReleaseParams


class AblationRequest(_Request):
    """Train recipes with a grid of settings and several seeds, and measure each model."""

    kind: Literal[JobKind.ABLATION]
    params: AblationParams


JobRequest = Annotated[
    TrainRequest | EvaluateRequest | ReleaseRequest | AblationRequest, Field(discriminator="kind")
]
_JOB_REQUEST: TypeAdapter[TrainRequest | EvaluateRequest | ReleaseRequest | AblationRequest] = (
    TypeAdapter(JobRequest)
)

_CHANGES: TypeAdapter[JobChanges] = TypeAdapter(JobChanges)


def accepted(response: Response, job: JobView) -> JobView:
    """Say where to follow a job that was taken on."""
    response.headers["Location"] = f"/api/jobs/{job.id}"
    return job


@router.post("", status_code=202, dependencies=[Depends(strict_json(_JOB_REQUEST, tagged=True))])
def submit(
    lab: LabDep,
    response: Response,
    body: Annotated[JobRequest, Body()],
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Submit a training, an evaluation, a release or an ablation; follow it at `Location`.

    Imports start at `POST /api/datasets`, live attacks at `POST /api/live`.
    """
    name = (body.name or "") if isinstance(body, EvaluateRequest) else ""
    key, priority = idempotency_key, body.priority
    job = jobs.submit(
        lab, body.kind, body.params, name=name, priority=priority, idempotency_key=key
    )
    return accepted(response, job)


@router.get("")
def page(
    lab: LabDep,
    kind: Annotated[list[JobKind] | None, Query(max_length=len(JobKind))] = None,
    status: Annotated[list[JobStatus] | None, Query(max_length=5)] = None,
    parent: Annotated[Id | None, Query(description="Only the jobs of this ablation")] = None,
    children: Annotated[
        bool, Query(description="Whether jobs that are parts of an ablation are listed")
    ] = True,
    starts: Annotated[
        str | None, Query(pattern="^[0-9a-f]{1,32}$", description="Only those whose id begins so")
    ] = None,
    tag: Annotated[Tag | None, Query(description="Only those that have it")] = None,
    deleted: Annotated[bool, Query(description="Those in the bin instead")] = False,
    page: PageNumber = 1,
    page_size: PageSize = 20,
) -> Page[JobView]:
    """Jobs, newest first; `kind` and `status` may be repeated."""
    return jobs.page(
        lab,
        kinds=kind or (),
        statuses=status or (),
        parent=parent,
        children=children,
        starts=starts,
        tag=tag,
        deleted=deleted,
        page=page,
        page_size=page_size,
    )


@router.get("/{job_id}")
def one(lab: LabDep, job_id: IdPath) -> JobView:
    """One job, with its progress, and why it waits or failed."""
    return jobs.get(lab, job_id)


@router.get("/{job_id}/result", response_model=JobResult)
def result(lab: LabDep, job_id: IdPath) -> Response:
    """What a finished job left, as the worker wrote it; 409 while there is nothing."""
    return Response(jobs.result_json(lab, job_id), media_type="application/json")


@router.post("/{job_id}/cancel", status_code=202)
def cancel(lab: LabDep, job_id: IdPath) -> JobView:
    """End a queued job, or ask a running one to end at its next step; 409 when it is over.

    An ablation ends with all of its jobs.
    """
    return jobs.cancel(lab, job_id)


@router.patch("/{job_id}", dependencies=[Depends(strict_json(_CHANGES, tagged=False))])
def change(lab: LabDep, job_id: IdPath, changes: Annotated[JobChanges, Body()]) -> JobView:
    """Name it, note, tag, pin or archive it; what is left out stays."""
    (view,) = job_changes.change(lab, [job_id], changes)
    return view


@router.delete("/{job_id}", status_code=204)
def delete(lab: LabDep, job_id: IdPath) -> None:
    """Move a job that is over into the bin, where it stays for a week; an ablation with its jobs.

    409 where a model or a dataset came from it, or where another job goes on from its checkpoint.
    """
    job_changes.delete(lab, job_id)


@router.post("/{job_id}/restore")
def restore(lab: LabDep, job_id: IdPath) -> JobView:
    """Take a job out of the bin, an ablation with its jobs."""
    (view,) = job_changes.restore(lab, job_id)
    return view
