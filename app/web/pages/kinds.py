"""What each kind of job shows: one record a kind, and the context of its page.

The templates `job_*.html` extend `job.html`, the frame of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import EvaluateParams, ImportParams, Recipe
from app.contracts.results import (
    EvaluationResult,
    ImportModelResult,
    ImportResult,
    ReleaseResult,
    TrainResult,
)
from app.contracts.results.base import Result
from app.contracts.stored import UNREAD_PARAMS, understood
from app.contracts.views import JobView
from app.errors import Conflict, NotFound
from app.services import ablations, jobs, models
from app.services.lab import Lab
from app.web.charts import evaluation, reported, training
from app.web.charts.base import Figure
from app.web.forms.entries import entries_of
from app.web.forms.readable import RowGroup
from app.web.pages.ablation import AblationView, view_of
from app.web.pages.evaluation_doubts import origin_of
from app.web.pages.evaluation_running import ModelSoFar, so_far
from app.web.pages.evaluation_view import EvaluationView, evaluation_view
from app.web.pages.job_params import asked_for
from app.web.pages.recipes import known_recipes, recipes_of
from app.web.pages.sent_files import sent_file
from app.web.render import Context

R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class JobContext(Context):
    """What the page of every job has."""

    job: JobView
    """In any state."""
    params: tuple[RowGroup, ...]
    """What was asked for."""
    again: str
    """Address of a form filled with the same parameters; empty for kinds without a form."""
    unread: tuple[str, ...]
    """What of it cannot be read any more, in sentences."""


@dataclass(frozen=True)
class ImportContext(JobContext):
    """The import of a dataset."""

    template: ClassVar[str] = "job_import.html"

    imported: ImportResult | None
    """What it left."""
    confirm: tuple[tuple[str, str], ...]
    """After a preview, as long as the file is here: the fields of a form that imports it."""


@dataclass(frozen=True)
class ImportedModelContext(JobContext):
    """The import of a model."""

    template: ClassVar[str] = "job_import_model.html"

    imported: ImportModelResult | None
    """What it left."""


@dataclass(frozen=True)
class TrainingContext(JobContext):
    """A training, while it runs and after."""

    template: ClassVar[str] = "job_train.html"

    trained: TrainResult | None
    """What it left."""
    resume: str
    """Address of the form that goes on from the last checkpoint; empty where there is none."""


@dataclass(frozen=True)
class EvaluationContext(JobContext):
    """An evaluation, while it runs and after."""

    template: ClassVar[str] = "job_evaluate.html"

    evaluation: EvaluationView | None
    """What it left."""
    figures: dict[str, Any]
    """All charts of what it left as Plotly JSON, by name."""
    known: tuple[ModelSoFar, ...]
    """What is known of each model while there is no result."""
    asked: int
    """How many images were asked for."""


@dataclass(frozen=True)
class LiveAttackContext(JobContext):
    """A live attack, which the live page shows."""

    template: ClassVar[str] = "job_explain.html"


@dataclass(frozen=True)
class AblationContext(JobContext):
    """An ablation, while it runs and after."""

    template: ClassVar[str] = "job_ablation.html"

    ablation: AblationView | None
    """The table as it is known now; None where it cannot be read any more."""


@dataclass(frozen=True)
class ReleaseContext(JobContext):
    """A release of a model."""

    template: ClassVar[str] = "job_release.html"

    released: ReleaseResult | None
    """What it left."""


def _no_figures(lab: Lab, job: JobView, runs: Sequence[reported.Run]) -> dict[str, Figure]:
    return {}


@dataclass(frozen=True)
class Kind:
    """One kind of job."""

    noun: str
    """What such a job does."""
    page: Callable[[Lab, JobView], JobContext]
    """All that its page shows."""
    figures: Callable[[Lab, JobView, Sequence[reported.Run]], dict[str, Figure]] = _no_figures
    """Charts of what the job and the runs before it reported so far, by name: those that the page
    itself lacks."""
    form: str = ""
    """Address of the form of such jobs; empty where scripts or other pages submit them."""
    checkpoints: bool = False
    """Whether one that ends early leaves something to go on from."""
    once: bool = False
    """Whether one that succeeded is not worth running again."""


def _frame(lab: Lab, job: JobView) -> dict[str, Any]:
    """The fields of every kind's context."""
    kind, asked = KINDS[job.kind], asked_for(lab, job)
    form = "" if kind.once and job.status is JobStatus.SUCCEEDED else kind.form
    return {
        "job": job,
        "params": asked.rows,
        "again": f"{form}?from={job.id}" if form else "",
        "unread": (UNREAD_PARAMS,) if asked.params is None else (),
    }


def _opened(lab: Lab, job: JobView, kind: type[R]) -> tuple[R | None, dict[str, Any]]:
    """What the job left, where there is something that is read, and the frame."""
    frame = _frame(lab, job)
    if not job.has_result:
        return None, frame
    try:
        result = jobs.result_of(lab, job)
    except (Conflict, NotFound) as error:
        said = f"{error.detail} {error.hint}".strip()
        return None, {**frame, "unread": (*frame["unread"], said)}
    assert isinstance(result, kind)
    return result, frame


def _import(lab: Lab, job: JobView) -> ImportContext:
    result, frame = _opened(lab, job, ImportResult)
    return ImportContext(**frame, imported=result, confirm=tuple(_confirm(lab, job)))


def _confirm(lab: Lab, job: JobView) -> Iterator[tuple[str, str]]:
    """The fields of the form that imports what was looked at."""
    entries = entries_of(ImportParams, job.params)
    if entries.pop("preview", ()) and sent_file(lab, entries) is not None:
        for name, values in entries.items():
            text = "\n".join(values)
            if text:
                yield name, text


def _import_model(lab: Lab, job: JobView) -> ImportedModelContext:
    result, frame = _opened(lab, job, ImportModelResult)
    return ImportedModelContext(**frame, imported=result)


def _release(lab: Lab, job: JobView) -> ReleaseContext:
    result, frame = _opened(lab, job, ReleaseResult)
    return ReleaseContext(**frame, released=result)


def _train(lab: Lab, job: JobView) -> TrainingContext:
    result, frame = _opened(lab, job, TrainResult)
    resume = f"{frame['again']}&continue_from={job.id}" if jobs.can_go_on(lab, job) else ""
    return TrainingContext(**frame, trained=result, resume=resume)


def _training_figures(lab: Lab, job: JobView, runs: Sequence[reported.Run]) -> dict[str, Figure]:
    return training.training_figures(runs, Recipe.known(job.params.get("recipe")))


def _evaluate(lab: Lab, job: JobView) -> EvaluationContext:
    result, frame = _opened(lab, job, EvaluationResult)
    if result is None:
        known, asked = so_far(lab, job)
        return EvaluationContext(**frame, evaluation=None, figures={}, known=known, asked=asked)
    recipes = recipes_of(lab, result.params.models)
    return EvaluationContext(
        **frame,
        evaluation=evaluation_view(result, recipes, origin_of(lab, job, result)),
        figures=evaluation.figures(result, recipes),
        known=(),
        asked=result.images,
    )


def _estimate(lab: Lab, job: JobView, runs: Sequence[reported.Run]) -> dict[str, Figure]:
    params = understood(EvaluateParams, job.params)
    if job.has_result or params is None:
        return {}
    views = models.by_id(lab, params.models)
    names = {model: view.name for model, view in views.items()}
    events = reported.bodies(runs)
    return reported.evaluation_figures(events, params, names, known_recipes(views))


def _explain(lab: Lab, job: JobView) -> LiveAttackContext:
    return LiveAttackContext(**_frame(lab, job))


def _ablation(lab: Lab, job: JobView) -> AblationContext:
    frame = _frame(lab, job)
    if frame["unread"]:
        return AblationContext(**frame, ablation=None)
    return AblationContext(**frame, ablation=view_of(lab, ablations.get(lab, job.id)))


KINDS: Mapping[JobKind, Kind] = {
    JobKind.IMPORT: Kind("dataset import", _import, form="/datasets", once=True),
    JobKind.TRAIN: Kind(
        "training", _train, figures=_training_figures, form="/train", checkpoints=True
    ),
    JobKind.EVALUATE: Kind("evaluation", _evaluate, figures=_estimate, form="/evaluate"),
    JobKind.EXPLAIN: Kind("live attack", _explain),
    JobKind.IMPORT_MODEL: Kind("model import", _import_model, form="/models/import", once=True),
    JobKind.RELEASE: Kind("release", _release),
    JobKind.ABLATION: Kind("ablation", _ablation, form="/ablation"),
}
"""Every kind of job."""
