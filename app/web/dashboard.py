"""The dashboard: what runs, what was measured last, and what to do first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Recipe
from app.contracts.results import EvaluationResult
from app.contracts.views import JobView
from app.deps import LabDep
from app.errors import LabError
from app.services import datasets, jobs, models, upkeep
from app.services.lab import Lab
from app.web import charts, words
from app.web.border import PageNumber
from app.web.contexts import DashboardContext, Filter, JobList, JobListContext, Step
from app.web.render import render
from app.web.tables import accuracy_table

router = APIRouter()

PAGE_SIZE = 10
Kind = Annotated[JobKind | None, Query()]
Status = Annotated[JobStatus | None, Query()]


@router.get("/")
def dashboard(
    lab: LabDep,
    request: Request,
    kind: Kind = None,
    status: Status = None,
    page: PageNumber = 1,
) -> Response:
    latest, result = _latest_evaluation(lab)
    recipes = {}
    if result is not None:
        views = models.by_id(lab, [model.model for model in result.models])
        recipes = {model: view.card.params.recipe for model, view in views.items()}
    context = DashboardContext(
        health=upkeep.health(lab),
        steps=_first_steps(lab, measured=latest is not None),
        latest=latest,
        figures={} if result is None else charts.evaluation(result, recipes),
        table=None if result is None else accuracy_table(result),
        jobs=_job_list(lab, kind, status, page),
    )
    return render(request, context)


@router.get("/jobs")
def job_list(
    lab: LabDep,
    request: Request,
    kind: Kind = None,
    status: Status = None,
    page: PageNumber = 1,
) -> Response:
    """The fragment with the list of jobs; a person who comes here is sent to the whole page."""
    if "hx-request" not in request.headers:
        return RedirectResponse(_address("/", kind, status, page) + "#jobs")
    return render(request, JobListContext(jobs=_job_list(lab, kind, status, page)))


def _latest_evaluation(lab: Lab) -> tuple[JobView | None, EvaluationResult | None]:
    done = jobs.page(
        lab, kinds=[JobKind.EVALUATE], statuses=[JobStatus.SUCCEEDED], page_size=1
    ).items
    if not done:
        return None, None
    try:
        result = jobs.result(lab, done[0].id)
    except LabError:  # its file is gone; the dashboard goes on without it
        return done[0], None
    assert isinstance(result, EvaluationResult)
    return done[0], result


def _first_steps(lab: Lab, *, measured: bool) -> tuple[Step, ...]:
    recipes = [view.card.params.recipe for view in models.page(lab).items]
    done = [
        bool(datasets.all_datasets(lab)),
        Recipe.CLEAN in recipes,
        Recipe.AGKD_BML in recipes,
        measured,
    ]
    if all(done):
        return ()
    texts = [
        ("Add a dataset", "Draw ten classes of shapes here and now, or import an archive of your "
         "own.", "/datasets", "Import an archive"),
        ("Train a teacher", "A classifier that sees clean images only. It is accurate, and it "
         "breaks under attack.", "/train?recipe=clean", "Train a teacher"),
        ("Train a student", "It learns from attacked images, and to look where its teacher looks.",
         "/train?recipe=agkd_bml", "Train a student"),
        ("Measure and look", "Accuracy of both under attack; then what they look at, on an image "
         "of yours.", "/evaluate", "Evaluate both"),
    ]  # fmt: skip
    now = done.index(False)
    return tuple(
        Step(title, help, done=done[i], now=i == now, href=href, action=action)
        for i, (title, help, href, action) in enumerate(texts)
    )


def _address(path: str, kind: JobKind | None, status: JobStatus | None, page: int) -> str:
    chosen = {"kind": kind, "status": status, "page": page if page > 1 else None}
    query = urlencode({name: str(value) for name, value in chosen.items() if value is not None})
    return f"{path}?{query}" if query else path


def _job_list(lab: Lab, kind: JobKind | None, status: JobStatus | None, page: int) -> JobList:
    found = jobs.page(
        lab,
        kinds=[] if kind is None else [kind],
        statuses=[] if status is None else [status],
        page=page,
        page_size=PAGE_SIZE,
    )
    kinds: Sequence[JobKind | None] = [None, *JobKind]
    statuses: Sequence[JobStatus | None] = [None, *JobStatus]
    return JobList(
        page=found,
        kinds=tuple(
            Filter(
                "all" if k is None else words.kind(k),
                _address("/", k, status, 1) + "#jobs",
                k == kind,
            )
            for k in kinds
        ),
        statuses=tuple(
            Filter(s or "all", _address("/", kind, s, 1) + "#jobs", s == status) for s in statuses
        ),
        address=_address("/jobs", kind, status, page),
        newer=_address("/", kind, status, page - 1) + "#jobs" if page > 1 else "",
        older=_address("/", kind, status, page + 1) + "#jobs" if page < found.pages else "",
        filtered=kind is not None or status is not None,
        unfinished=any(not job.status.is_final for job in found.items),
    )
