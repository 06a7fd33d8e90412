"""Finished evaluations of the lab, as pages show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.contracts.jobs import JobStatus
from app.contracts.params import Recipe
from app.contracts.results import EvaluationResult
from app.contracts.views import JobView, ModelView
from app.errors import LabError
from app.services import jobs, models
from app.services.lab import Lab
from app.web.pages.evaluation_view import EvaluationView, evaluation_view


def recipes_of(lab: Lab, ids: Sequence[str]) -> dict[str, Recipe]:
    """What the models that are still registered were trained with, where the lab knows it."""
    return known_recipes(models.by_id(lab, ids))


def known_recipes(views: Mapping[str, ModelView]) -> dict[str, Recipe]:
    """Recipes by model; those of imported weights are not known."""
    cards = {model: view.card for model, view in views.items()}
    return {model: card.recipe for model, card in cards.items() if card.recipe is not None}


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
