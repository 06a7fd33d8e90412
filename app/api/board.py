"""The robustness board: models beside those that were measured the same way."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.admission.routes import ByMethod
from app.contracts.board import Board, Condition
from app.contracts.params import Recipe
from app.deps import LabDep
from app.errors import NotFound
from app.services import board as boards

router = APIRouter(prefix="/board", tags=["board"], route_class=ByMethod)


@router.get("/conditions")
def conditions(lab: LabDep) -> list[Condition]:
    """Every dataset and threat model under which something was measured; most models first."""
    return boards.conditions(lab)


@router.get("")
def board(
    lab: LabDep,
    dataset: Annotated[str, Query(pattern="^[0-9a-f]{64}$", description="Its checksum")],
    threat: Annotated[
        str, Query(max_length=80, description="`norm-epsilon-goal` of one of the conditions")
    ],
    recipe: Annotated[Recipe | None, Query()] = None,
    every: Annotated[
        bool, Query(description="Every evaluation, not only each model's strongest")
    ] = False,
) -> Board:
    """Models measured under one condition, the most robust first."""
    for condition in boards.conditions(lab):
        if (condition.dataset, condition.key) == (dataset, threat):
            return boards.board(lab, condition, recipe=recipe, every=every)
    raise NotFound("Nothing was measured so.", hint="See /api/board/conditions.")
