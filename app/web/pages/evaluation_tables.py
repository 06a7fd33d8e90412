"""Figures of an evaluation as a table: budgets down, models across."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.contracts.results import Accuracy, EvaluationResult
from app.contracts.words import budget


@dataclass(frozen=True)
class TableRow:
    """One budget or number of steps."""

    label: str
    cells: tuple[Accuracy | None, ...]
    """One for each model; None where it has no such point."""


@dataclass(frozen=True)
class AccuracyTable:
    """Model names are outside text."""

    models: tuple[tuple[str, str], ...]
    """Id and name."""
    against_epsilon: tuple[TableRow, ...]
    against_steps: tuple[TableRow, ...]
    steps_budget: str
    """The budget of the steps curve."""


@dataclass(frozen=True)
class ClassRow:
    """One class; None where a model has no image of it, or no such figures."""

    name: str
    """Outside text."""
    images: int
    cells: tuple[tuple[Accuracy | None, Accuracy | None], ...]
    """Clean and worst case, for each model."""


@dataclass(frozen=True)
class ClassTable:
    """Models are given by id and name; names are outside text."""

    models: tuple[tuple[str, str], ...]
    rows: tuple[ClassRow, ...]


def accuracy_table(result: EvaluationResult) -> AccuracyTable:
    """Clean accuracy first, then every point of the curves."""
    norm = result.params.attack.norm
    epsilons = [[(p.x, p.accuracy) for p in model.against_epsilon] for model in result.models]
    steps = [[(p.x, p.accuracy) for p in model.against_steps] for model in result.models]
    clean = TableRow("clean", tuple(model.clean for model in result.models))
    attacked = _rows(epsilons, lambda x: budget(norm, x))
    return AccuracyTable(
        models=tuple((model.model, model.name) for model in result.models),
        against_epsilon=(clean, *(row for row in attacked if row.label != budget(norm, 0.0))),
        against_steps=_rows(steps, lambda x: f"{x:g}"),
        steps_budget=budget(norm, result.params.epsilon),
    )


def _rows(
    curves: Sequence[Sequence[tuple[float, Accuracy]]], label: Callable[[float], str]
) -> tuple[TableRow, ...]:
    by_x = [dict(curve) for curve in curves]
    xs = sorted({x for points in by_x for x in points})
    return tuple(TableRow(label(x), tuple(points.get(x) for points in by_x)) for x in xs)


def class_table(result: EvaluationResult) -> ClassTable | None:
    """Every class in its order; None where classes were not measured."""
    measured = [model for model in result.models if model.per_class]
    if not measured:
        return None
    rows = []
    for k, name in enumerate(result.classes):
        cells = tuple((model.per_class[k].clean, model.per_class[k].robust) for model in measured)
        images = max((clean.n for clean, _ in cells if clean is not None), default=0)
        rows.append(ClassRow(name, images, cells))
    return ClassTable(tuple((model.model, model.name) for model in measured), tuple(rows))
