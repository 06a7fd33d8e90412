"""The robustness board: every measured model, clean against robust, under one condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from app.admission.routes import ByMethod
from app.contracts.board import Board, Condition
from app.contracts.params import Recipe
from app.deps import LabDep
from app.services import board as boards
from app.web.charts import board as board_charts
from app.web.charts.palette import identity
from app.web.pages.recipes import recipes_of
from app.web.pages.tables import Filter, Option
from app.web.render import Context, render


@dataclass(frozen=True)
class BoardContext(Context):
    """Models that were measured the same way."""

    template: ClassVar[str] = "board.html"

    board: Board | None
    """None where nothing was measured yet."""
    filters: tuple[Filter, ...]
    """Dataset, threat model and recipe to choose from."""
    every: bool
    """Whether every evaluation is shown, not only each model's strongest."""
    identities: Mapping[str, str]
    """The style sheet's name of each model's colour."""
    figures: dict[str, Any]
    """Its charts as Plotly JSON, by name."""


router = APIRouter(prefix="/board", route_class=ByMethod)


@router.get("")
def board(
    lab: LabDep,
    request: Request,
    dataset: Annotated[str, Query(max_length=80)] = "",
    threat: Annotated[str, Query(max_length=80)] = "",
    recipe: Annotated[str, Query(max_length=80)] = "",
    every: bool = False,
) -> Response:
    """A dataset, a threat model or a recipe that there is not narrows nothing."""
    of = Recipe.known(recipe)
    held = boards.conditions(lab)
    chosen = boards.chosen(held, dataset, threat)
    found = None if chosen is None else boards.board(lab, chosen, recipe=of, every=every)
    ids = [] if found is None else [entry.model for entry in found.entries]
    hues = {} if found is None else board_charts.hues(found, recipes_of(lab, ids))
    context = BoardContext(
        board=found,
        filters=() if chosen is None else _filters(held, chosen, of),
        every=every,
        identities={model: identity(hue) for model, hue in hues.items()},
        figures={} if found is None else board_charts.figures(found, hues),
    )
    return render(request, context)


def _filters(
    held: Sequence[Condition], chosen: Condition, recipe: Recipe | None
) -> tuple[Filter, ...]:
    names = {each.dataset: each.dataset_name for each in held}
    same = [each for each in held if each.dataset == chosen.dataset]
    datasets = [Option(key, name, key == chosen.dataset) for key, name in names.items()]
    threats = [
        Option(each.key, f"{each.threat}, {each.models} models", each == chosen) for each in same
    ]
    every = Option("", "All", recipe is None)
    recipes = [Option(each, each.record.title, each is recipe) for each in Recipe]
    return (
        Filter("dataset", "Dataset", tuple(datasets)),
        Filter("threat", "Threat model", tuple(threats)),
        Filter("recipe", "Recipe", (every, *recipes)),
    )
