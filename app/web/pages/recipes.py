"""Which recipe models were trained with: it decides in which colour they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.contracts.params import Recipe
from app.contracts.views import ModelView
from app.services import models, showcase
from app.services.lab import Lab
from app.web.charts import palette


def recipes_of(lab: Lab, ids: Sequence[str]) -> dict[str, Recipe]:
    """What the models that are still registered were trained with, where the lab knows it."""
    return known_recipes(models.by_id(lab, ids))


def known_recipes(views: Mapping[str, ModelView]) -> dict[str, Recipe]:
    """Recipes by model, in the order of `seniority`; those of imported weights are not known."""
    ordered = sorted(views.values(), key=lambda view: (seniority(view), view.id))
    return {view.id: view.card.recipe for view in ordered if view.card.recipe is not None}


def seniority(view: ModelView) -> float:
    """Among models of a recipe, the one of the least keeps its hue: those of the box in its order,
    the newest of which stands first there, then the others as they came.
    """
    at = view.created_at.timestamp()
    return -at if view.card.origin == "shipped" else at


def own_identity(lab: Lab, view: ModelView) -> str:
    """The style sheet's name of the colour of a model by itself; one of the box has the colour that
    it has beside the others there.
    """
    box = showcase.recipes(lab)
    beside = box if view.id in box else known_recipes({view.id: view})
    return palette.identity(palette.colours([*beside, view.id], beside)[view.id])
