"""Trainings side by side: their curves laid over one another, and the settings that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.admission.routes import ByMethod
from app.contracts.board import Figures
from app.contracts.jobs import JobKind
from app.contracts.listings import JobFilter
from app.contracts.params import Recipe, TrainParams
from app.contracts.views import JobView
from app.deps import LabDep
from app.errors import InvalidInput, LabError, NotFound
from app.services import listings, trainings
from app.services.lab import Lab
from app.services.listings import JobLine
from app.services.trainings import History
from app.web import words
from app.web.charts import palette
from app.web.charts import trainings as training_charts
from app.web.pages.compare import Chosen, Searched
from app.web.pages.job_params import asked_for
from app.web.render import Context, render


@dataclass(frozen=True)
class ComparedTraining:
    """One training of the comparison."""

    job: JobView
    name: str
    """With the beginning of its id where another one is called so too; outside text."""
    took: str
    """How long; `–` while it is not over."""
    identity: str
    """The style sheet's name of its colour."""
    runs: tuple[JobView, ...]
    """Those that it goes on from, the first one first."""
    figures: Figures | None
    """Of its best epoch, on held-out images."""


@dataclass(frozen=True)
class ChangedSetting:
    """A setting that is not the same in all of them; outside text."""

    label: str
    values: tuple[str, ...]
    """In the order of the trainings; `–` where it means nothing."""


@dataclass(frozen=True)
class TrainingChoices:
    """Trainings that may be compared."""

    shown: tuple[JobLine, ...]
    """The chosen ones first, then the newest or those found."""
    chosen: frozenset[str]
    """The ids of those chosen."""
    more: bool
    """Whether the lab has others, which a search finds."""
    search: str
    """What was searched; outside text."""


@dataclass(frozen=True)
class TrainingChoicesContext(Context):
    """The choice of trainings alone."""

    template: ClassVar[str] = "_training_choices.html"

    choices: TrainingChoices
    """What the search found, and what is chosen."""


@dataclass(frozen=True)
class TrainingsContext(Context):
    """Trainings side by side, and a choice of them."""

    template: ClassVar[str] = "compare_trainings.html"

    compared: tuple[ComparedTraining, ...]
    """In the order of the address; empty where none is chosen."""
    differences: tuple[ChangedSetting, ...]
    """Settings that differ."""
    figures: dict[str, Any]
    """The charts as Plotly JSON, by name."""
    choices: TrainingChoices
    """What else may be compared."""
    most: int
    """How many may be chosen."""
    problem: str
    """Why those chosen cannot be compared; may quote outside text."""


router = APIRouter(route_class=ByMethod)

_SHOWN = 30
_OWN = {TrainParams.model_fields[name].title for name in ("name", "continue_from", "device")}
"""Settings that the table says in rows of their own."""


@router.get("/compare/trainings")
def compare(
    lab: LabDep,
    request: Request,
    job: Chosen = None,
    search: Searched = "",
) -> Response:
    problem: LabError | None = None
    try:
        found = trainings.histories(lab, job or [])
    except (InvalidInput, NotFound) as error:
        found, problem = [], error
    hues = _hues([one.job for one in found])
    context = TrainingsContext(
        compared=_compared(lab, found, hues),
        differences=_differences(lab, [one.job for one in found]),
        figures=training_charts.figures(_shown(found, hues)),
        choices=_choices(lab, job or [], search),
        most=trainings.MAX_COMPARED,
        problem=f"{problem.detail} {problem.hint}".strip() if problem else "",
    )
    return render(request, context, status=problem.status if problem else 200)


@router.get("/compare/trainings/choices")
def choices(lab: LabDep, request: Request, job: Chosen = None, search: Searched = "") -> Response:
    """The fragment with the choice of trainings, which the page fetches as one searches."""
    return render(request, TrainingChoicesContext(choices=_choices(lab, job or [], search)))


def _choices(lab: Lab, chosen: Sequence[str], search: str) -> TrainingChoices:
    """The chosen ones first, however old they are, then the newest or those found."""
    text = search.strip()
    asked = JobFilter(text=text, kind=JobKind.TRAIN)
    found = listings.job_lines(lab, asked, page=1, page_size=_SHOWN)
    absent = set(chosen) - {line.job.id for line in found.items}
    older = [line for line in listings.lines_of(lab, absent) if line.job.kind is JobKind.TRAIN]
    return TrainingChoices(
        shown=tuple(sorted([*older, *found.items], key=lambda line: line.job.id not in chosen)),
        chosen=frozenset(chosen),
        more=bool(text) or found.pages > 1,
        search=text,
    )


def _hues(jobs: Sequence[JobView]) -> list[str]:
    """Of each training that of its recipe's models."""
    ordered = sorted(jobs, key=lambda job: (job.created_at, job.id))
    recipes = {job.id: Recipe.known(job.params.get("recipe")) for job in ordered}
    known = {id: recipe for id, recipe in recipes.items() if recipe is not None}
    chosen = palette.colours([job.id for job in jobs], known)
    return [chosen[job.id] for job in jobs]


def _compared(
    lab: Lab, found: Sequence[History], hues: Sequence[str]
) -> tuple[ComparedTraining, ...]:
    left = listings.figures_of_trainings(lab, [one.job.id for one in found])
    names = _told_apart([one.job for one in found], [one.job.title for one in found])
    return tuple(
        ComparedTraining(
            job=one.job,
            name=name,
            took=_took(one.job),
            identity=palette.identity(hue),
            runs=tuple(run.job for run in one.runs[:-1]),
            figures=left.get(one.job.id),
        )
        for one, name, hue in zip(found, names, hues, strict=True)
    )


def _told_apart(jobs: Sequence[JobView], names: Sequence[str]) -> list[str]:
    """The names; of equal ones, with the beginning of the job's id."""
    return [
        f"{name} ({job.id[:8]})" if names.count(name) > 1 else name
        for job, name in zip(jobs, names, strict=True)
    ]


def _shown(found: Sequence[History], hues: Sequence[str]) -> list[training_charts.Shown]:
    jobs = [one.job for one in found]
    names = _told_apart(
        jobs, [str(job.name or job.params.get("name") or job.title) for job in jobs]
    )
    return [
        training_charts.Shown(
            name, hue, [[(event.at, event.body) for event in run.events] for run in of.runs]
        )
        for of, name, hue in zip(found, names, hues, strict=True)
    ]


def _took(job: JobView) -> str:
    if job.started_at is None or job.finished_at is None:
        return "–"
    return words.took((job.finished_at - job.started_at).total_seconds())


def _differences(lab: Lab, jobs: Sequence[JobView]) -> tuple[ChangedSetting, ...]:
    """Of all settings in the order of the form."""
    said = [_settings(lab, job) for job in jobs]
    labels = dict.fromkeys(label for one in said for label in one)
    rows = [ChangedSetting(label, tuple(one.get(label, "–") for one in said)) for label in labels]
    return tuple(row for row in rows if len(set(row.values)) > 1)


def _settings(lab: Lab, job: JobView) -> dict[str, str]:
    groups = asked_for(lab, job).rows
    rows = [row for group in groups for row in group.rows if row.label not in _OWN]
    return {row.label: ", ".join(value.name for value in row.values) for row in rows}
