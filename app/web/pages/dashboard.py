"""The dashboard: what runs, what was measured last, and what to do first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse, Response

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Recipe
from app.contracts.results import EvaluationResult
from app.contracts.views import JobView
from app.deps import LabDep
from app.services import datasets, jobs, models, upkeep
from app.services.lab import Lab
from app.web import words
from app.web.charts.base import Figure
from app.web.charts.curves import against_epsilon, against_steps
from app.web.pages.context_parts import Filter, JobList, Step
from app.web.pages.contexts import DashboardContext, JobListContext
from app.web.pages.evaluations import measured, recipes_of
from app.web.pages.inputs import PageNumber
from app.web.render import render

router = APIRouter()

PAGE_SIZE = 10
_CHARTS = {"epsilon": against_epsilon, "steps": against_steps}


@dataclass(frozen=True)
class Choice:
    """Which jobs are asked for: a page of those of a kind and a state."""

    kind: JobKind | None
    status: JobStatus | None
    page: int

    def address(self, path: str) -> str:
        chosen = {"kind": self.kind, "status": self.status, "page": self.page}
        said = {n: str(v) for n, v in chosen.items() if v is not None and v != 1}
        return f"{path}?{urlencode(said)}" if said else path


def _asked(
    kind: Annotated[JobKind | None, Query()] = None,
    status: Annotated[JobStatus | None, Query()] = None,
    page: PageNumber = 1,
) -> Choice:
    return Choice(kind, status, page)


Asked = Annotated[Choice, Depends(_asked)]


@router.get("/")
def dashboard(lab: LabDep, request: Request, asked: Asked) -> Response:
    latest = _latest_evaluation(lab)
    view = None if latest is None else measured(lab, latest)
    context = DashboardContext(
        health=upkeep.health(lab),
        steps=_first_steps(lab, evaluated=latest is not None),
        latest=latest,
        evaluation=view,
        figures={} if view is None else _figures(lab, view.result),
        jobs=_job_list(lab, asked),
    )
    return render(request, context)


@router.get("/jobs")
def job_list(lab: LabDep, request: Request, asked: Asked) -> Response:
    """The fragment with the list of jobs; a person who comes here is sent to the whole page."""
    if "hx-request" not in request.headers:
        return RedirectResponse(asked.address("/") + "#jobs")
    return render(request, JobListContext(jobs=_job_list(lab, asked)))


def _latest_evaluation(lab: Lab) -> JobView | None:
    done = jobs.page(
        lab, kinds=[JobKind.EVALUATE], statuses=[JobStatus.SUCCEEDED], page_size=1
    ).items
    return done[0] if done else None


def _figures(lab: Lab, result: EvaluationResult) -> dict[str, Figure]:
    recipes = recipes_of(lab, [model.model for model in result.models])
    drawn = {name: draw(result, recipes) for name, draw in _CHARTS.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _first_steps(lab: Lab, *, evaluated: bool) -> tuple[Step, ...]:
    cards = [view.card for view in models.page(lab).items]
    recipes = {card.recipe for card in cards} - {None}
    texts = [
        (bool(datasets.all_datasets(lab)), "Add a dataset", "Draw ten classes of shapes here and "
         "now, or import an archive of your own.", "/datasets", "Import an archive"),
        (Recipe.CLEAN in recipes, "Train a teacher", "A classifier that sees clean images only. It "
         "is accurate, and it breaks under attack.", "/train?recipe=clean", "Train a teacher"),
        (bool(recipes - {Recipe.CLEAN}), "Train a student", "It learns from attacked images, and "
         "to look where its teacher looks.", "/train?recipe=agkd_bml", "Train a student"),
        (evaluated, "Measure and look", "Accuracy of both under attack; then what they look at, on "
         "an image of yours.", "/evaluate", "Evaluate both"),
    ]  # fmt: skip
    if all(done for done, *_ in texts):
        return ()
    if any(card.origin == "shipped" for card in cards):
        seen = jobs.page(lab, kinds=[JobKind.EXPLAIN], page_size=1).total > 0
        own = any(card.origin != "shipped" for card in cards)
        texts[1:3] = [(own, "Train your own", "A teacher on clean images, and a student that "
                       "learns to look where it looks.", "/train", "Train a model")]  # fmt: skip
        texts.insert(0, (seen, "Attack a photograph", "Trained models came with the lab: see what "
                         "an attack does, and where they look.", "/live",
                         "Open the live view"))  # fmt: skip
        if all(done for done, *_ in texts):
            return ()
    now = [done for done, *_ in texts].index(False)
    return tuple(
        Step(title, help, done=done, now=i == now, href=href, action=action)
        for i, (done, title, help, href, action) in enumerate(texts)
    )


def _job_list(lab: Lab, asked: Choice) -> JobList:
    found = jobs.page(
        lab,
        kinds=[] if asked.kind is None else [asked.kind],
        statuses=[] if asked.status is None else [asked.status],
        children=False,  # those of an ablation are on its page
        page=asked.page,
        page_size=PAGE_SIZE,
    )

    def link(**change: Any) -> str:
        return replace(asked, **change).address("/") + "#jobs"

    kinds: Sequence[JobKind | None] = [None, *JobKind]
    statuses: Sequence[JobStatus | None] = [None, *JobStatus]
    return JobList(
        page=found,
        kinds=tuple(
            Filter("all" if k is None else words.kind(k), link(kind=k, page=1), k == asked.kind)
            for k in kinds
        ),
        statuses=tuple(
            Filter(s or "all", link(status=s, page=1), s == asked.status) for s in statuses
        ),
        address=asked.address("/jobs"),
        newer=link(page=asked.page - 1) if asked.page > 1 else "",
        older=link(page=asked.page + 1) if asked.page < found.pages else "",
        filtered=asked.kind is not None or asked.status is not None,
        unfinished=any(not job.status.is_final for job in found.items),
    )
