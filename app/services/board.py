"""The robustness board: every measured model, beside those that were measured the same way.

Figures stand together only where images, norm, budget and goal of the attacks are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.contracts.attacks import Goal, Norm
from app.contracts.board import Board, Condition, Entry
from app.contracts.params import Recipe, Source
from app.contracts.results import REPORTED, EvaluationSummary
from app.contracts.units import from_255
from app.contracts.words import attack
from app.services import evaluations, showcase
from app.services.lab import Lab
from app.services.listings import measured
from app.store import catalogue, measurements
from app.store.measurements import Placed, Threat

MOST_ENTRIES = 200
MOST_CURVES = 8


def conditions(lab: Lab) -> list[Condition]:
    """Every condition under which something was measured; those of most models first, and last the
    one under which the models in the box were, before they were shipped.
    """
    shipped = showcase.condition(lab)
    return [*_measured_here(lab), *([] if shipped is None else [shipped])]


def _measured_here(lab: Lab) -> list[Condition]:
    return [
        Condition(
            dataset=threat.dataset_sha256,
            dataset_name=name,
            norm=Norm(threat.norm),
            epsilon=threat.epsilon,
            goal=Goal(threat.goal),
            models=models,
        )
        for threat, name, models in measurements.threats(lab.database)
    ]


def chosen(held: Sequence[Condition], dataset: str, threat: str) -> Condition | None:
    """The condition asked for, else the dataset's that has most models, else the lab's.

    Args:
        dataset: A checksum, or nothing.
        threat: A condition's `key`, or nothing.
    """
    of_dataset = [each for each in held if each.dataset == dataset] or list(held)
    asked = [each for each in of_dataset if each.key == threat] or of_dataset
    return asked[0] if asked else None


def board(
    lab: Lab, condition: Condition, *, recipe: Recipe | None = None, every: bool = False
) -> Board:
    """Models measured under a condition, each by its strongest evaluation, or by `every` one."""
    if condition.shipped:
        fitting = (one for one in showcase.entries(lab) if recipe in (None, one.recipe))
        return Board(condition=condition, entries=tuple(fitting), reported=(), left_out=0)
    threat = Threat(condition.dataset, condition.norm, condition.epsilon, condition.goal)
    placed = measurements.under(
        lab.database, threat, recipe=recipe, every=every, limit=MOST_ENTRIES
    )
    total = len(placed)
    if total == MOST_ENTRIES:  # `condition` counts models, each by its strongest evaluation
        total = condition.models
        if every or recipe is not None:
            total = measurements.count_under(lab.database, threat, recipe=recipe, every=every)
    return Board(
        condition=condition,
        entries=_with_curves(lab, [_entry(each) for each in placed]),
        reported=REPORTED if _is_as_reported(lab, condition) else (),
        left_out=total - len(placed),
    )


def _entry(placed: Placed) -> Entry:
    row, recipe = placed.row, Recipe.known(placed.recipe)
    return Entry(
        model=row.model_id,
        name=placed.name,
        recipe=recipe,
        recipe_name="" if recipe is None else recipe.called(placed.steps or 0),
        figures=measured(row),
        job=row.job_id,
    )


def _with_curves(lab: Lab, entries: Sequence[Entry]) -> tuple[Entry, ...]:
    drawn = entries[:MOST_CURVES]
    found = evaluations.summaries(lab, {entry.job for entry in drawn})
    first = [_with_curve(entry, found.get(entry.job)) for entry in drawn]
    return (*first, *entries[MOST_CURVES:])


def _with_curve(entry: Entry, summary: EvaluationSummary | None) -> Entry:
    if summary is None:
        return entry
    params = summary.params
    attacks = [attack(params.attack), *(method.record.title for method in params.further)]
    curves = (one.against_epsilon for one in summary.models if one.model == entry.model)
    drawn = {"attacks": "; ".join(attacks), "curve": next(curves, ())}
    return entry.model_copy(update=drawn)


def _is_as_reported(lab: Lab, condition: Condition) -> bool:
    """Whether the paper's figures are of these images and this budget: CIFAR-10, L∞, 8/255."""
    if condition.norm is not Norm.LINF or not math.isclose(condition.epsilon, from_255(8)):
        return False
    row = catalogue.dataset_of(lab.database, condition.dataset)
    return row is not None and row.source == Source.CIFAR10
