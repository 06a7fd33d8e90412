"""Evaluations side by side, or a choice of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import EvaluateParams, Id
from app.contracts.views import JobView
from app.deps import LabDep
from app.errors import Conflict, InvalidInput, LabError, NotFound
from app.services import comparing, datasets, jobs
from app.services.lab import Lab
from app.web import words
from app.web.charts import comparison as compare_charts
from app.web.pages.compare_view import comparison_view
from app.web.pages.context_parts import EvaluationChoice
from app.web.pages.contexts import CompareContext
from app.web.pages.evaluations import recipes_of
from app.web.render import render

router = APIRouter()

_CHOICES = 50


@router.get("/compare")
def compare(
    lab: LabDep,
    request: Request,
    job: Annotated[list[Id] | None, Query(max_length=comparing.MAX_JOBS)] = None,
) -> Response:
    chosen = job or []
    choices = _choices(lab, chosen)
    alone = sum(choice.models for choice in choices if choice.chosen) == len(chosen) == 1
    problem: LabError | None = None
    try:
        comparison = comparing.compare(lab, chosen) if chosen and not alone else None
    except (Conflict, InvalidInput, NotFound) as error:
        comparison, problem = None, error
    recipes = recipes_of(lab, [row.model for row in comparison.compared] if comparison else [])
    context = CompareContext(
        view=comparison_view(comparison, recipes) if comparison else None,
        figures=compare_charts.figures(comparison, recipes) if comparison else {},
        choices=choices,
        most=comparing.MAX_JOBS,
        alone=alone,
        problem=f"{problem.detail} {problem.hint}".strip() if problem else "",
    )
    return render(request, context, status=problem.status if problem else 200)


def _choices(lab: Lab, chosen: Sequence[str]) -> tuple[EvaluationChoice, ...]:
    """The newest finished evaluations; those chosen first, however old they are."""
    newest = jobs.page(
        lab, kinds=[JobKind.EVALUATE], statuses=[JobStatus.SUCCEEDED], page_size=_CHOICES
    ).items
    shown = {view.id: view for view in newest}
    older = [job for job in chosen if job not in shown]
    first = [view for view in (_known(lab, job) for job in older) if view is not None]
    names = {view.id: view.name for view in datasets.all_datasets(lab)}
    ordered = sorted([*first, *newest], key=lambda view: view.id not in chosen)
    return tuple(_choice(view, names, view.id in chosen) for view in ordered)


def _known(lab: Lab, job_id: str) -> JobView | None:
    try:
        view = jobs.get(lab, job_id)
    except NotFound:
        return None
    done = view.kind is JobKind.EVALUATE and view.status is JobStatus.SUCCEEDED
    return view if done else None


def _choice(job: JobView, datasets: dict[str, str], chosen: bool) -> EvaluationChoice:
    params = EvaluateParams.model_validate(job.params)
    threat = words.threat(params.attack.norm, params.epsilon)
    attacks = [words.attack(params.attack), *map(words.method, params.further)]
    return EvaluationChoice(
        job=job,
        chosen=chosen,
        dataset=datasets.get(params.dataset, "a dataset that is gone"),
        models=len(params.models),
        images=params.images,
        how=f"{threat}; {', '.join(attacks)}",
    )
