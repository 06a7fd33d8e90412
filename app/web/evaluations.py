"""Finished evaluations of the lab, as pages show them."""

from __future__ import annotations

from collections.abc import Sequence

from app.contracts.jobs import JobStatus
from app.contracts.params import Recipe
from app.contracts.results import EvaluationResult
from app.contracts.views import JobView
from app.errors import LabError
from app.services import jobs, models
from app.services.lab import Lab
from app.web.evaluation_view import EvaluationView, evaluation_view


def recipes_of(lab: Lab, ids: Sequence[str]) -> dict[str, Recipe]:
    """What the models that are still registered were trained with."""
    return {model: view.card.params.recipe for model, view in models.by_id(lab, ids).items()}


def measured(lab: Lab, job: JobView) -> EvaluationView | None:
    """What an evaluation job left; None where it left nothing or its file is gone."""
    if job.status is not JobStatus.SUCCEEDED:
        return None
    try:
        result = jobs.result(lab, job.id)
    except LabError:
        return None
    assert isinstance(result, EvaluationResult)
    recipes = recipes_of(lab, [model.model for model in result.models])
    return evaluation_view(result, recipes)
