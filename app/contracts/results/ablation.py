"""What an ablation leaves: a table of recipes and settings, over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, JsonValue

from app.contracts.attacks import VALIDATION_ATTACK, Method
from app.contracts.jobs import JobStatus
from app.contracts.params import AblationParams, Recipe
from app.contracts.results.base import Accuracy, Result
from app.contracts.results.verdict import Light
from app.contracts.units import from_255, parse


class Measure(StrEnum):
    """A column of the table: an accuracy of each training's best model."""

    CLEAN = "clean"
    """On clean test images."""
    FGSM = "fgsm"
    """On test images, under FGSM alone."""
    PGD = "pgd"
    """On test images, under PGD alone."""
    CW = "cw"
    """On test images, under PGD on the margin between logits alone."""
    AUTOATTACK = "autoattack"
    """On test images, the worst case of AutoAttack standard and the attacks before it, image by
    image: at most what AutoAttack alone would leave."""
    VALIDATION_CLEAN = "validation_clean"
    """On the clean held-out images of the training, by which its best epoch was chosen."""
    VALIDATION_PGD = "validation_pgd"
    """On the same under PGD-10; the chosen epoch is the best in it, so it flatters."""


class Column(Result):
    """What one column holds, in words."""

    measure: Measure
    name: str
    """`PGD-20`."""
    help: str


class SeedValue(Result):
    """The accuracy of one seed's model."""

    seed: int
    accuracy: Accuracy


class Spread(Result):
    """A share over seeds: what another seed would change. Not an interval over images."""

    mean: float
    std: float | None
    """Standard deviation of the sample, with n - 1; None for one seed."""
    n: int = Field(ge=1)
    """How many seeds have a value."""
    values: tuple[SeedValue, ...]

    @classmethod
    def of(cls, values: Sequence[SeedValue]) -> Self:
        """Raises ValueError without values."""
        n, shares = len(values), [each.accuracy.value for each in values]
        if n == 0:
            raise ValueError("no values, no spread")
        mean = math.fsum(shares) / n
        squares = math.fsum((share - mean) ** 2 for share in shares)
        std = math.sqrt(squares / (n - 1)) if n > 1 else None
        return cls(mean=mean, std=std, n=n, values=tuple(values))


class AblationChild(Result):
    """One training of a row, and the evaluation of its best model."""

    seed: int
    training: str
    """The job's id."""
    status: JobStatus
    """Of the training."""
    model: str | None
    """The best epoch's model, once there is one and while the lab has it."""
    evaluation: str | None
    """The job's id, once it was submitted."""
    evaluation_status: JobStatus | None
    light: Light | None
    """The verdict on the evaluation's figures."""
    failure: str | None
    """Why the training or the evaluation failed, in words."""


class Reported(Result):
    """A figure of the paper, matched to a recipe and a measure; not measured by this lab."""

    recipe: Recipe
    measure: Measure
    variant: str
    """How its source names the model."""
    value: float
    """A share of images."""
    label: str
    training_steps: int | None = None
    """Steps of the attack that it was trained with; None where its source does not tell."""


class AblationRow(Result):
    """One recipe with one set of values."""

    recipe: Recipe
    changes: dict[str, JsonValue]
    """What differs from the shared settings; of the recipe's own, and of the grid."""
    label: str
    children: tuple[AblationChild, ...]
    """In the order of the seeds."""
    figures: dict[Measure, Spread]
    """Over the seeds that have the figure so far."""


class AblationTable(Result):
    """Rows in order, each over its seeds, beside what is reported elsewhere."""

    columns: tuple[Column, ...]
    """The measures that were asked for, in order; a row may not have all of them yet."""
    epsilon: float
    """The budget of every attack on test images, L∞, in units of [0, 1]."""
    rows: tuple[AblationRow, ...]
    reported: tuple[Reported, ...]
    """Of the recipes in the table, under the attacks of its columns."""


class Survival(StrEnum):
    """How far an image came: what a row's fall from PGD to AutoAttack is made of."""

    PGD = "pgd"
    """It stands under PGD."""
    CW = "cw"
    """It stands under PGD, FGSM and CW."""
    AUTOATTACK = "autoattack"
    """It stands under these and AutoAttack."""
    FALL = "fall"
    """It stands under PGD, and a later attack breaks it."""


class SeedChange(Result):
    """A seed of a row beside the same seed of another row, on the same images."""

    seed: int
    difference: float
    """Of the share of images; above 0: more of them in this row."""
    low: float
    """95 % interval of the difference (Newcombe, 1998, method 10: paired, from Wilson's)."""
    high: float
    only_before: int
    """Images of which it is true in the other row alone."""
    only_here: int
    p_value: float
    """McNemar's exact test, two-sided."""
    p_adjusted: float
    """The same over all changes of the table together (Holm, 1979)."""


class Contrast(Result):
    """A row of a design: how far its images come, and what it changes."""

    label: str
    beside: int | None
    """The row that it is compared with, from 0; None for the first."""
    shares: dict[Survival, float]
    """Share of the images, mean over the seeds that were measured; empty before the first."""
    changes: dict[Survival, tuple[SeedChange, ...]]
    """By seed, of those that were measured in both rows."""


class AblationResult(Result):
    kind: Literal["ablation"] = "ablation"
    params: AblationParams
    table: AblationTable


_LABEL = (
    "reported elsewhere (from a secondary summary of the paper): WRN-28-10, CIFAR-10; other "
    "network, data and training than here"
)
_FIGURES = (
    (Recipe.PGD_AT, Measure.PGD, "AT, 7 steps; under PGD-20", 0.4662, 7),
    (Recipe.BML, Measure.PGD, "BML; under PGD-20", 0.5653, None),
    (Recipe.AGKD, Measure.PGD, "AGKD; under PGD-20", 0.6071, None),
    (Recipe.AGKD_BML, Measure.PGD, "AGKD-BML; under PGD-20", 0.7102, None),
    (Recipe.AGKD_BML, Measure.AUTOATTACK, "AGKD-BML-7; under AutoAttack", 0.5059, 7),
)
REPORTED: tuple[Reported, ...] = tuple(
    Reported(
        recipe=recipe, measure=measure, variant=variant, value=value, label=_LABEL,
        training_steps=steps,
    )
    for recipe, measure, variant, value, steps in _FIGURES
)  # fmt: skip
"""What Wang et al. (ICCV 2021) report, all of it at 8/255."""
_REPORTED_EPSILON, _REPORTED_STEPS = from_255(8), 20
"""Of the attacks; the steps are those of PGD."""


def reported_in(params: AblationParams) -> tuple[Reported, ...]:
    """What the paper reports of an ablation's recipes under the very attacks of its columns.

    A figure whose training is told needs a row that was trained with as many steps.
    """
    if params.measure is None or not _at_reported_epsilon(params.training.epsilon):
        return ()
    rows = params.rows()
    return tuple(
        each
        for each in REPORTED
        if (each.measure is not Measure.PGD or params.measure.steps == _REPORTED_STEPS)
        and (each.measure is not Measure.AUTOATTACK or params.measure.autoattack)
        and any(
            compares(each, params, row.recipe, row.changes) or each.training_steps is None
            for row in rows
            if row.recipe is each.recipe
        )
    )


def compares(
    each: Reported, params: AblationParams, recipe: Recipe, changes: Mapping[str, JsonValue]
) -> bool:
    """Whether a figure is of a row's recipe, budget and steps, as far as its source tells them."""
    epsilon = parse(changes.get("epsilon", params.training.epsilon))
    steps = changes.get("steps", params.training.steps)
    return each.recipe is recipe and _at_reported_epsilon(epsilon) and each.training_steps == steps


def _at_reported_epsilon(epsilon: float) -> bool:
    return math.isclose(epsilon, _REPORTED_EPSILON, rel_tol=1e-6)


def columns_of(params: AblationParams) -> tuple[Column, ...]:
    """The columns of an ablation's table, in order."""
    found = [
        Column(
            measure=Measure.VALIDATION_CLEAN,
            name="clean, validation",
            help="On held-out training images, by which the best epoch was chosen.",
        ),
        Column(
            measure=Measure.VALIDATION_PGD,
            name=f"{VALIDATION_ATTACK}, validation",
            help="On the same images, at the budget that each model was trained with; the best "
            "epoch is the best in it, so it flatters.",
        ),
    ]
    if params.measure is not None:
        steps = params.measure.steps
        measured = (Method.FGSM, Method.PGD, Method.CW, Method.AUTOATTACK)
        fgsm, pgd, cw, auto = (method.record.title for method in measured)
        names = {
            Measure.CLEAN: ("clean", "On clean test images."),
            Measure.FGSM: (fgsm, "On all test images, under this attack alone."),
            Measure.PGD: (f"{pgd}-{steps}", "On all test images, under this attack alone."),
        }
        if params.measure.cw:
            names[Measure.CW] = (f"{cw}-{steps}", "On all test images, under this attack alone.")
        if params.measure.autoattack:
            names[Measure.AUTOATTACK] = (
                auto,
                f"The worst case of {auto} and the attacks before it, image by image: at most "
                f"what {auto} alone would leave.",
            )
        found = [Column(measure=m, name=n, help=h) for m, (n, h) in names.items()] + found
    return tuple(found)
