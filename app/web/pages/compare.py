"""Evaluations side by side, or a choice of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.admission.routes import ByMethod
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Id
from app.contracts.results import EvaluationSummary
from app.contracts.views import JobView
from app.contracts.words import attack
from app.deps import LabDep
from app.errors import Conflict, InvalidInput, LabError, NotFound
from app.services import comparing, evaluations, jobs
from app.services.lab import Lab
from app.web import words
from app.web.charts import comparison as compare_charts
from app.web.pages.comparison_view import ComparisonView, comparison_view
from app.web.pages.recipes import recipes_of
from app.web.pages.tables import MOST_CHOSEN
from app.web.render import Context, render


@dataclass(frozen=True)
class EvaluationChoice:
    """A finished evaluation that may be compared."""

    job: JobView
    chosen: bool
    dataset: str
    """Its name; outside text."""
    models: int
    images: int
    """How many were measured."""
    how: str
    """Threat model and attacks, or why these are not known; then there are no figures."""


@dataclass(frozen=True)
class EvaluationChoices:
    """What may be compared."""

    shown: tuple[EvaluationChoice, ...]
    """The chosen ones first, then the newest or those found."""
    more: bool
    """Whether the lab has others, which a search finds."""
    search: str
    """What was searched; outside text."""


@dataclass(frozen=True)
class EvaluationChoicesContext(Context):
    """The choice of evaluations alone."""

    template: ClassVar[str] = "_choices.html"

    choices: EvaluationChoices
    """What the search found, and what is chosen."""


@dataclass(frozen=True)
class CompareContext(Context):
    """Evaluations side by side, and a choice of them."""

    template: ClassVar[str] = "compare.html"

    view: ComparisonView | None
    """None where nothing is compared."""
    figures: dict[str, Any]
    """Its charts as Plotly JSON, by name."""
    choices: EvaluationChoices
    """What else may be compared."""
    most: int
    """How many evaluations may be chosen."""
    alone: bool
    """Whether all that was chosen is one evaluation of one model."""
    problem: str
    """Why those chosen cannot be compared, and what to do; may quote outside text."""


router = APIRouter(route_class=ByMethod)
Chosen = Annotated[list[Id] | None, Query(max_length=MOST_CHOSEN)]
Searched = Annotated[str, Query(max_length=200)]

_SHOWN = 50


@router.get("/compare")
def compare(lab: LabDep, request: Request, job: Chosen = None, search: Searched = "") -> Response:
    chosen = job or []
    choices = _choices(lab, chosen, search)
    alone = sum(one.models for one in choices.shown if one.chosen) == len(chosen) == 1
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


@router.get("/compare/choices")
def choices(lab: LabDep, request: Request, job: Chosen = None, search: Searched = "") -> Response:
    """The fragment with the choice of evaluations, which the page fetches as one searches."""
    return render(request, EvaluationChoicesContext(choices=_choices(lab, job or [], search)))


def _choices(lab: Lab, chosen: Sequence[str], search: str) -> EvaluationChoices:
    """The chosen ones first, however old they are, then the newest or those found."""
    text = search.strip()
    found = jobs.finished_evaluations(lab, text, limit=_SHOWN + 1)
    ids = {view.id for view in found}
    older = [view for view in (_known(lab, one) for one in chosen if one not in ids) if view]
    ordered = sorted([*older, *found[:_SHOWN]], key=lambda view: view.id not in chosen)
    said = evaluations.summaries(lab, [view.id for view in ordered])
    return EvaluationChoices(
        shown=tuple(_choice(view, said.get(view.id), view.id in chosen) for view in ordered),
        more=bool(text) or len(found) > _SHOWN,
        search=text,
    )


def _known(lab: Lab, job_id: str) -> JobView | None:
    try:
        view = jobs.get(lab, job_id)
    except NotFound:
        return None
    done = view.kind is JobKind.EVALUATE and view.status is JobStatus.SUCCEEDED
    return view if done else None


def _choice(job: JobView, said: EvaluationSummary | None, chosen: bool) -> EvaluationChoice:
    if said is None:
        how = "Its result is gone, or of an earlier version of the lab."
        return EvaluationChoice(job, chosen, dataset="", models=0, images=0, how=how)
    params = said.params
    threat = words.threat(params.attack.norm, params.epsilon)
    attacks = [attack(params.attack), *(method.record.title for method in params.further)]
    return EvaluationChoice(
        job=job,
        chosen=chosen,
        dataset=said.dataset.name,
        models=len(said.models),
        images=said.images,
        how=f"{threat}; {', '.join(attacks)}",
    )
