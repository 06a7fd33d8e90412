"""Evaluations side by side as a page shows them: figures, tests, differing images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.contracts.results import (
    Accuracy,
    Compared,
    Comparison,
    DifferingImage,
    Light,
    PairedTest,
)
from app.contracts.words import attack, signed
from app.web import words
from app.web.charts import palette
from app.web.charts.base import Recipes
from app.web.charts.comparison import hues_of
from app.web.pages.live_address import live_address

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class ComparedRow:
    """One model of one evaluation."""

    number: int
    """From 1; tests and images name it so."""
    evaluation: int
    """The number of its evaluation, from 1; notes name it so."""
    job: str
    model: str
    name: str
    identity: str
    """The style sheet's name of its colour."""
    clean: Accuracy
    robust: Accuracy
    light: Light
    threat: str
    """`L∞, ε = 8/255`."""
    attacks: str
    """`PGD-20, 5 restarts; AutoAttack, Square`."""


@dataclass(frozen=True)
class TestRow:
    """Two of them on one quantity."""

    quantity: str
    first: int
    second: int
    difference: str
    """`+12.3 points`."""
    interval: str
    """`8.1 to 16.4`."""
    only_first: int
    only_second: int
    p_value: str
    p_adjusted: str
    conclusion: str
    """What may be said; names no winner where chance would do."""


@dataclass(frozen=True)
class ModelAnswer:
    """What one model says of an image."""

    number: int
    identity: str
    stands: bool
    says: str
    """`stands`, `attacked: dog` or, wrong from the start, `clean: dog`."""


@dataclass(frozen=True)
class Picture:
    """An image on whose robustness they differ."""

    number: int
    address: str
    label: str
    answers: tuple[ModelAnswer, ...]
    live: str
    """Address of the live view with this image."""


@dataclass(frozen=True)
class ComparisonView:
    comparison: Comparison
    rows: tuple[ComparedRow, ...]
    tests: tuple[TestRow, ...]
    pictures: tuple[Picture, ...]
    warnings: tuple[str, ...]
    """Notes about evaluations that are not to be trusted."""
    notes: tuple[str, ...]
    """The others."""


def comparison_view(comparison: Comparison, recipes: Recipes) -> ComparisonView:
    """What the page shows; `recipes` are of the models still known, by id."""
    hues = hues_of(comparison, recipes)
    identities = {model: palette.identity(hue) for model, hue in hues.items()}
    return ComparisonView(
        comparison=comparison,
        rows=tuple(_rows(comparison.compared, identities)),
        tests=tuple(_test(test, comparison.compared) for test in comparison.tests),
        pictures=tuple(
            _picture(comparison, image, identities, recipes) for image in comparison.differing
        ),
        warnings=tuple(one.text for one in comparison.caveats if one.severity == "warning"),
        notes=tuple(one.text for one in comparison.caveats if one.severity == "note"),
    )


def _rows(compared: Sequence[Compared], identities: Mapping[str, str]) -> list[ComparedRow]:
    evaluations = list(dict.fromkeys(row.job for row in compared))
    return [
        ComparedRow(
            number=i,
            evaluation=evaluations.index(row.job) + 1,
            job=row.job,
            model=row.model,
            name=row.name,
            identity=identities[row.model],
            clean=row.clean,
            robust=row.robust,
            light=row.light,
            threat=words.threat(row.attack.norm, row.epsilon),
            attacks="; ".join(
                filter(
                    None,
                    [attack(row.attack), ", ".join(method.record.title for method in row.further)],
                )
            ),
        )
        for i, row in enumerate(compared, start=1)
    ]


def _test(test: PairedTest, compared: Sequence[Compared]) -> TestRow:
    return TestRow(
        quantity=test.quantity,
        first=test.first + 1,
        second=test.second + 1,
        difference=f"{signed(test.difference)} points",
        interval=f"{signed(test.low)} to {signed(test.high)}",
        only_first=test.only_first,
        only_second=test.only_second,
        p_value=words.probability(test.p_value),
        p_adjusted=words.probability(test.p_adjusted),
        conclusion=_conclusion(test, compared),
    )


def _conclusion(test: PairedTest, compared: Sequence[Compared]) -> str:
    rows = (test.first, test.second)
    if test.quantity == "robust" and any(compared[i].light is Light.RED for i in rows):
        return "Not comparable: red verdict."
    if test.quantity == "robust" and len({_threat(compared[i]) for i in rows}) > 1:
        return "Not comparable: other threat models."
    if test.p_adjusted >= SIGNIFICANT:
        return "No difference shown."
    if test.quantity == "robust" and len({_attacks(compared[i]) for i in rows}) > 1:
        return "They differ, and so do the attacks."
    better = test.second if test.difference > 0 else test.first
    means = "more robust" if test.quantity == "robust" else "more accurate on clean images"
    return f"{better + 1} is {means}."


def _threat(row: Compared) -> tuple[object, ...]:
    return row.attack.norm, row.epsilon, row.attack.goal, row.attack.target_class


def _attacks(row: Compared) -> tuple[object, ...]:
    return row.attack, frozenset(row.further)


def _picture(
    comparison: Comparison,
    image: DifferingImage,
    identities: Mapping[str, str],
    recipes: Recipes,
) -> Picture:
    dataset, classes = comparison.dataset.id, comparison.classes
    return Picture(
        number=image.number,
        address=f"/datasets/{dataset}/test/{image.number}.png",
        label=classes[image.label],
        answers=tuple(
            ModelAnswer(
                number=i + 1,
                identity=identities[row.model],
                stands=image.robust[i],
                says=_says(image, i, classes),
            )
            for i, row in enumerate(comparison.compared)
        ),
        live=live_address(
            [row.model for row in comparison.compared],
            recipes,
            dataset=dataset,
            number=image.number,
            label=classes[image.label],
        ),
    )


def _says(image: DifferingImage, row: int, classes: Sequence[str]) -> str:
    if image.robust[row]:
        return "stands"
    if image.clean_predictions[row] != image.label:
        return f"clean: {classes[image.clean_predictions[row]]}"
    return f"attacked: {classes[image.worst_predictions[row]]}"
