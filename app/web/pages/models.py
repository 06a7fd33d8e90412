"""One model: its card, what measured it, and the way into the bin and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from app.admission.routes import ByMethod
from app.contracts.changes import Changes
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import ReleaseParams, TrainParams
from app.contracts.results import TrainResult
from app.contracts.views import DatasetView, JobView, ModelView
from app.deps import LabDep
from app.errors import LabError
from app.services import datasets, evaluations, jobs, models
from app.services.lab import Lab
from app.web.forms.readable import Named, RowGroup, readable
from app.web.pages.headlines import Headlines, ModelHeadline, headlines
from app.web.pages.inputs import IdPath, Posted
from app.web.pages.job_params import earlier_run
from app.web.pages.keeping import changes
from app.web.pages.recipes import own_identity, recipes_of
from app.web.render import Context, render


@dataclass(frozen=True)
class Measured:
    """One model in one finished evaluation."""

    job: JobView
    view: Headlines
    model: ModelHeadline


@dataclass(frozen=True)
class ModelContext(Context):
    """One model."""

    template: ClassVar[str] = "model.html"

    model: ModelView
    """With its card."""
    identity: str
    """The style sheet's name of its colour."""
    dataset: str
    """The id of what it was trained on, in this lab; empty where the lab lacks it."""
    has_teacher: bool
    """Whether the lab has the teacher that its card names."""
    twin: ModelView | None
    """The other model that its training left: the best or the last epoch."""
    expected: bool
    """Whether someone said what its accuracies on test images would be."""
    params: tuple[RowGroup, ...]
    """What it was trained with; empty for imported weights."""
    measured: Measured | None
    """Its latest finished evaluation."""
    evaluations: tuple[JobView, ...]
    """Recent jobs that measured it."""
    students: int
    """How many models learned from it."""


router = APIRouter(prefix="/models", route_class=ByMethod)

_SHOWN_EVALUATIONS = 50


@router.get("/{model_id}")
def one(lab: LabDep, request: Request, model_id: IdPath) -> Response:
    view = models.get(lab, model_id)
    measuring = _evaluations(lab, model_id)
    dataset = datasets.of_model(lab, view.card)
    teacher = _held_teacher(lab, view)
    context = ModelContext(
        model=view,
        identity=own_identity(lab, view),
        dataset="" if dataset is None else dataset.id,
        twin=_twin(lab, view),
        expected=any(one.expected is not None for one in view.card.test),
        has_teacher=teacher is not None,
        params=_params(lab, view, dataset, teacher),
        measured=_measured(lab, model_id, measuring),
        evaluations=measuring,
        students=models.students_of(lab, model_id),
    )
    return render(request, context)


def _twin(lab: Lab, view: ModelView) -> ModelView | None:
    if view.job is None:
        return None
    try:
        result = jobs.result(lab, view.job)
    except LabError:
        return None
    kept = {result.model, result.last} - {view.id} if isinstance(result, TrainResult) else set()
    return next(iter(models.by_id(lab, sorted(kept)).values()), None)


def _held_teacher(lab: Lab, view: ModelView) -> ModelView | None:
    """The teacher, unless it is in the bin, or was never in this lab."""
    named = view.card.teacher
    return None if named is None else models.by_id(lab, [named.id]).get(named.id)


def _params(
    lab: Lab, view: ModelView, dataset: DatasetView | None, teacher: ModelView | None
) -> tuple[RowGroup, ...]:
    """What the lab holds of it is linked."""
    card = view.card
    if card.params is None:
        return ()
    names = {
        card.dataset.id: Named(card.dataset.name, f"/datasets/{dataset.id}" if dataset else "")
    }
    if card.teacher is not None:
        href = f"/models/{teacher.id}" if teacher else ""
        names[card.teacher.id] = Named(card.teacher.name, href)
    if card.params.continue_from is not None:
        names |= earlier_run(lab, card.params.continue_from)
    return readable(TrainParams, card.params.model_dump(mode="json"), names)


def _evaluations(lab: Lab, model_id: str) -> tuple[JobView, ...]:
    kinds = [JobKind.EVALUATE]
    return jobs.page(lab, kinds=kinds, measures=model_id, page_size=_SHOWN_EVALUATIONS).items


def _measured(lab: Lab, model_id: str, measuring: Sequence[JobView]) -> Measured | None:
    """The model in the latest evaluation that finished."""
    done = next((job for job in measuring if job.status is JobStatus.SUCCEEDED), None)
    found = None if done is None else evaluations.left_by(lab, done)
    if done is None or found is None:
        return None
    view = headlines(found, recipes_of(lab, [model.model for model in found.models]))
    return Measured(done, view, next(one for one in view.models if one.model == model_id))


@router.post("/{model_id}/release")
def release(lab: LabDep, model_id: IdPath) -> Response:
    job = jobs.submit(lab, JobKind.RELEASE, ReleaseParams(model=model_id))
    return RedirectResponse(f"/jobs/{job.id}", status_code=303)


@router.post("/{model_id}/delete")
def delete(lab: LabDep, model_id: IdPath) -> Response:
    when = models.delete(lab, model_id)
    return RedirectResponse(f"/models?undo={when!r}", status_code=303)


@router.post("/{model_id}/change")
def change(lab: LabDep, model_id: IdPath, posted: Posted) -> Response:
    models.change(lab, [model_id], changes(posted, Changes))
    return RedirectResponse(f"/models/{model_id}", status_code=303)


@router.post("/{model_id}/restore")
def restore(lab: LabDep, model_id: IdPath) -> Response:
    models.restore(lab, model_id)
    return RedirectResponse(f"/models/{model_id}", status_code=303)
