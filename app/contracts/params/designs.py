"""What an ablation compares: recipes with a grid of values, or a list of rows that answers one
question. One record each; form, checks, table and documents derive from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import JsonValue

from app.contracts.options import Option, Record
from app.contracts.recipes import Recipe


class Variant(NamedTuple):
    """One row of a design, which is compared with another one."""

    title: str
    recipe: Recipe
    changes: dict[str, JsonValue]
    """What it says of the training; the shared settings say the rest."""
    beside: int | None
    """The row that it is compared with, from 0; None for the first."""


@dataclass(frozen=True, kw_only=True)
class DesignRecord(Record):
    variants: Callable[[float], tuple[Variant, ...]] | None = None
    """From the budget of the shared settings, in units of [0, 1], to the rows; None: a grid."""


def _parts(_: float) -> tuple[Variant, ...]:
    """From PGD-AT to AGKD-BML, a part at a time.

    The MART term is that of the recipe `mart`: on top of the cross-entropy of PGD-AT it is what
    `agkd` and `bml` add to theirs. BML is compared with what AGKD is compared with, too.
    """
    smooth: dict[str, JsonValue] = {"label_smoothing": 0.5, "start_from_teacher": False}
    towards: dict[str, JsonValue] = smooth | {"direction": "confusing"}
    whole: dict[str, JsonValue] = {"label_smoothing": 0.5, "start_from_teacher": True, "mart": True}
    plain = smooth | {"label_smoothing": 0.0, "direction": "away"}
    begun = towards | {"start_from_teacher": True}
    return (
        Variant("PGD-AT, no smoothing", Recipe.PGD_AT, plain, None),
        Variant("+ smoothing 0.5", Recipe.PGD_AT, smooth | {"direction": "away"}, 0),
        Variant("+ towards the most confusing class", Recipe.PGD_AT, towards, 1),
        Variant("+ MART term", Recipe.MART, towards, 2),
        Variant("+ start from the teacher", Recipe.MART, begun, 3),
        Variant("+ AGKD", Recipe.AGKD, whole, 4),
        Variant("+ BML, no AGKD", Recipe.BML, whole, 4),
        Variant("All: AGKD-BML", Recipe.AGKD_BML, whole, 6),
    )


_STEPS = (1, 2, 3, 7, 10)
_REACH = 2.5
"""Steps times their size, in budgets: 10 steps of 2/255 at 8/255, the authors' code. Above 2, so
that an attack can cross the ball."""


def _steps(epsilon: float) -> tuple[Variant, ...]:
    return tuple(
        Variant(
            f"AGKD-BML, {steps} step{'' if steps == 1 else 's'}",
            Recipe.AGKD_BML,
            {"steps": steps, "step_size": _REACH * epsilon / steps},
            None if number == 0 else number - 1,
        )
        for number, steps in enumerate(_STEPS)
    )


class Design(Option):
    record: DesignRecord

    GRID = "grid", DesignRecord(
        title="Recipes and values",
        summary="Every recipe below, with every value of a grid.",
    )  # fmt: skip
    PARTS = "parts", DesignRecord(
        title="Take a method apart",
        summary="From PGD-AT to AGKD-BML a part at a time: smoothing, direction of the attack, "
        "MART term, start from the teacher, AGKD, BML. Which part makes real robustness, and "
        "which makes gradients that mislead? 8 rows; needs a teacher of the same architecture.",
        variants=_parts,
    )  # fmt: skip
    STEPS = "steps", DesignRecord(
        title="Steps of the training attack",
        summary="AGKD-BML trained with 1, 2, 3, 7 and 10 attack steps, whose size lets them cross "
        "the ball: 2.5 ε in all. Do few steps raise accuracy under PGD and lower it under "
        "AutoAttack? 5 rows.",
        variants=_steps,
    )  # fmt: skip

    @property
    def is_grid(self) -> bool:
        """Whether recipes and values are chosen, not given."""
        return self.record.variants is None
