"""The page of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from app.contracts.params import EvaluateParams
from app.contracts.results import EvaluationResult
from app.contracts.stored import understood
from app.contracts.views import JobView
from app.services import models
from app.services.lab import Lab
from app.web.charts import evaluation, reported
from app.web.charts.base import Figure
from app.web.pages.evaluation_doubts import origin_of
from app.web.pages.evaluation_running import ModelSoFar, so_far
from app.web.pages.evaluation_view import EvaluationView, evaluation_view
from app.web.pages.job_frame import JobContext, Kind, Way, opened
from app.web.pages.recipes import known_recipes, recipes_of


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


def _page(lab: Lab, job: JobView) -> EvaluationContext:
    result, frame = opened(lab, job, KIND, EvaluationResult)
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


def _figures(lab: Lab, job: JobView, runs: Sequence[reported.Run]) -> dict[str, Figure]:
    params = understood(EvaluateParams, job.params)
    if job.has_result or params is None:
        return {}
    views = models.by_id(lab, params.models)
    names = {model: view.name for model, view in views.items()}
    events = reported.bodies(runs)
    return reported.evaluation_figures(events, params, names, known_recipes(views))


KIND = Kind(
    noun="evaluation",
    page=_page,
    way=Way("/api/jobs", "evaluate"),
    figures=_figures,
    form="/evaluate",
    compare="/compare",
    pins=True,
)
