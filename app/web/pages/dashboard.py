"""The dashboard: what runs, what was measured last, and what to do first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse, Response

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Recipe
from app.contracts.results import EvaluationSummary
from app.contracts.views import Health, JobView, Page
from app.deps import LabDep
from app.services import datasets, jobs, models, upkeep
from app.services.lab import Lab
from app.web.charts.base import Figure, Recipes
from app.web.charts.curves import against_epsilon, against_steps
from app.web.pages.headlines import Headlines, headlines, left_by
from app.web.pages.inputs import PageNumber
from app.web.pages.kinds import KINDS
from app.web.pages.recipes import recipes_of
from app.web.render import Context, render


@dataclass(frozen=True)
class Step:
    """One of a newcomer's first steps."""

    title: str
    help: str
    done: bool
    now: bool
    """Whether this is the next one to take."""
    href: str
    """Where it is taken; empty for what a form on the spot does."""
    action: str
    """What the link or the button says."""


@dataclass(frozen=True)
class Filter:
    """One choice of the list's filters."""

    label: str
    href: str
    current: bool


@dataclass(frozen=True)
class JobList:
    """A page of jobs, its filters and neighbours."""

    page: Page[JobView]
    kinds: tuple[Filter, ...]
    statuses: tuple[Filter, ...]
    address: str
    """Where this very list is fetched anew."""
    newer: str
    """Address of the page before; empty on the first."""
    older: str
    """Address of the page after; empty on the last."""
    filtered: bool
    """Whether only some kind or state was asked for."""
    unfinished: bool
    """Whether a job in the list still changes."""


@dataclass(frozen=True)
class DashboardContext(Context):
    """Where the lab stands."""

    template: ClassVar[str] = "dashboard.html"

    health: Health
    """Workers of each queue, broker and database."""
    steps: tuple[Step, ...]
    """What a newcomer does first; empty once all of it is done."""
    latest: JobView | None
    """The latest finished evaluation."""
    evaluation: Headlines | None
    """What it left; None where its file is gone."""
    figures: dict[str, Any]
    """Its first charts as Plotly JSON, by name."""
    jobs: JobList
    """The jobs asked for."""


@dataclass(frozen=True)
class JobListContext(Context):
    """The jobs of the dashboard, which fetches them anew while one is unfinished."""

    template: ClassVar[str] = "_jobs.html"

    jobs: JobList
    """The jobs asked for."""


router = APIRouter()

PAGE_SIZE = 10
_CHARTS = {"epsilon": against_epsilon, "steps": against_steps}


@dataclass(frozen=True)
class Asked:
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
) -> Asked:
    return Asked(kind, status, page)


AskedDep = Annotated[Asked, Depends(_asked)]


@router.get("/")
def dashboard(lab: LabDep, request: Request, asked: AskedDep) -> Response:
    latest = _latest_evaluation(lab)
    found = None if latest is None else left_by(lab, latest)
    recipes = {} if found is None else recipes_of(lab, [model.model for model in found.models])
    context = DashboardContext(
        health=upkeep.health(lab),
        steps=_first_steps(lab, evaluated=latest is not None),
        latest=latest,
        evaluation=None if found is None else headlines(found, recipes),
        figures={} if found is None else _figures(found, recipes),
        jobs=_job_list(lab, asked),
    )
    return render(request, context)


@router.get("/recent")
def job_list(lab: LabDep, request: Request, asked: AskedDep) -> Response:
    """The fragment with the list of jobs; a person who comes here is sent to the whole page."""
    if "hx-request" not in request.headers:
        return RedirectResponse(asked.address("/") + "#jobs")
    return render(request, JobListContext(jobs=_job_list(lab, asked)))


def _latest_evaluation(lab: Lab) -> JobView | None:
    done = jobs.page(
        lab, kinds=[JobKind.EVALUATE], statuses=[JobStatus.SUCCEEDED], page_size=1
    ).items
    return done[0] if done else None


def _figures(found: EvaluationSummary, recipes: Recipes) -> dict[str, Figure]:
    drawn = {name: draw(found, recipes) for name, draw in _CHARTS.items()}
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


def _job_list(lab: Lab, asked: Asked) -> JobList:
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
            Filter("all" if k is None else KINDS[k].noun, link(kind=k, page=1), k == asked.kind)
            for k in kinds
        ),
        statuses=tuple(
            Filter(s or "all", link(status=s, page=1), s == asked.status) for s in statuses
        ),
        address=asked.address("/recent"),
        newer=link(page=asked.page - 1) if asked.page > 1 else "",
        older=link(page=asked.page + 1) if asked.page < found.pages else "",
        filtered=asked.kind is not None or asked.status is not None,
        unfinished=any(not job.status.is_final for job in found.items),
    )
