"""One job: its state, what it was asked, what it reported and what it left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import EvaluateParams, TrainParams
from app.contracts.results import (
    EvaluationResult,
    ExplainResult,
    ImportModelResult,
    ImportResult,
    TrainResult,
)
from app.contracts.views import JobView
from app.deps import LabDep
from app.services import ablations, jobs, models
from app.services.lab import Lab
from app.web.charts import ablation as ablation_charts
from app.web.charts import evaluation as evaluation_charts
from app.web.charts import explain as explain_charts
from app.web.charts import reported as job_charts
from app.web.charts import training as training_charts
from app.web.charts.base import Figure
from app.web.forms.readable import RowGroup
from app.web.pages.ablation import AblationView, ablation_view
from app.web.pages.evaluation_view import EvaluationView, evaluation_view
from app.web.pages.evaluations import known_recipes, recipes_of
from app.web.pages.inputs import IdPath
from app.web.pages.job_params import job_params
from app.web.render import Context, render


@dataclass(frozen=True)
class JobStateContext(Context):
    """One job's state, as the dashboard and the job's page show it."""

    template: ClassVar[str] = "_job.html"

    job: JobView
    """In any state."""


@dataclass(frozen=True)
class JobContext(Context):
    """One job with all that belongs to it."""

    template: ClassVar[str] = "job.html"

    job: JobView
    """In any state."""
    params: tuple[RowGroup, ...]
    """What was asked for."""
    again: str
    """Address of a form filled with the same parameters; empty for kinds without a form."""
    resume: str
    """Address of the form that goes on from the last checkpoint; empty where there is none."""
    evaluation: EvaluationView | None
    """What an evaluation left."""
    trained: TrainResult | None
    """What a training left."""
    imported: ImportResult | None
    """What an import left."""
    brought: ImportModelResult | None
    """What the import of a model left."""
    explained: bool
    """Whether there is something for the live page to show."""
    ablation: AblationView | None
    """The table of an ablation, as it is known now."""


router = APIRouter(prefix="/jobs")

_FORMS = {
    JobKind.TRAIN: "/train",
    JobKind.EVALUATE: "/evaluate",
    JobKind.ABLATION: "/ablation",
}


@router.get("/{job_id}")
def page(lab: LabDep, request: Request, job_id: IdPath) -> Response:
    job = jobs.get(lab, job_id)
    result = jobs.result(lab, job_id) if job.has_result else None
    evaluation = None
    if isinstance(result, EvaluationResult):
        evaluation = evaluation_view(result, recipes_of(lab, result.params.models))
    form = _FORMS.get(job.kind)
    ended_early = job.status in (JobStatus.CANCELLED, JobStatus.FAILED)
    resumable = job.kind is JobKind.TRAIN and ended_early and lab.files.has_checkpoint(job.id)
    again = f"{form}?from={job.id}" if form else ""
    context = JobContext(
        job=job,
        params=job_params(lab, job),
        again=again,
        resume=f"{again}&continue_from={job.id}" if resumable else "",
        evaluation=evaluation,
        trained=result if isinstance(result, TrainResult) else None,
        imported=result if isinstance(result, ImportResult) else None,
        brought=result if isinstance(result, ImportModelResult) else None,
        explained=isinstance(result, ExplainResult),
        ablation=ablation_view(ablations.table(lab, job_id))
        if job.kind is JobKind.ABLATION
        else None,
    )
    return render(request, context)


@router.get("/{job_id}/state")
def state(lab: LabDep, request: Request, job_id: IdPath) -> Response:
    """The fragment that shows the state; pages fetch it while the job is unfinished."""
    return render(request, JobStateContext(job=jobs.get(lab, job_id)))


@router.get("/{job_id}/record.json")
def record(lab: LabDep, job_id: IdPath) -> Response:
    """What the job reported so far: figures, readings, log, and the number of the last event.

    The stream of events goes on from there.
    """
    job = jobs.get(lab, job_id)
    events = jobs.charts_and_log(lab, job_id)
    bodies = [event.body for event in events]
    log = [
        {"at": event.at, "level": event.body["level"], "text": event.body["text"]}
        for event in events
        if event.body["type"] == "log"
    ]
    return JSONResponse(
        {
            "seq": events[-1].seq if events else 0,
            "figures": _figures(lab, job, bodies),
            "readings": job_charts.readings(bodies),
            "log": log,
        }
    )


def _figures(lab: Lab, job: JobView, events: list[dict[str, Any]]) -> dict[str, Figure]:
    result = jobs.result(lab, job.id) if job.has_result else None
    if isinstance(result, ExplainResult):
        return explain_charts.figures(result)
    if job.kind is JobKind.ABLATION:
        drawn = ablation_charts.figure(ablations.table(lab, job.id))
        return {} if drawn is None else {"seeds": drawn}
    if job.kind is JobKind.TRAIN:
        recipe = TrainParams.model_validate(job.params).recipe
        return training_charts.training_figures(events, recipe)
    if job.kind is JobKind.EVALUATE:
        params = EvaluateParams.model_validate(job.params)
        if isinstance(result, EvaluationResult):
            return evaluation_charts.figures(result, recipes_of(lab, params.models))
        views = models.by_id(lab, params.models)
        names = {model: view.name for model, view in views.items()}
        return job_charts.evaluation_figures(events, params, names, known_recipes(views))
    return {}


@router.post("/{job_id}/cancel")
def cancel(lab: LabDep, job_id: IdPath) -> Response:
    jobs.cancel(lab, job_id)
    return RedirectResponse(f"/jobs/{job_id}", status_code=303)
