"""Models of one or more evaluations side by side, image by image."""

from __future__ import annotations

from typing import Literal

from app.contracts.params import Attack, Method
from app.contracts.results.base import Accuracy, Lineage, Result
from app.contracts.results.verdict import Light


class Compared(Result):
    """One model of one evaluation, on the images that all of them measured."""

    job: str
    model: str
    name: str
    clean: Accuracy
    robust: Accuracy
    attack: Attack
    further: tuple[Method, ...]
    epsilon: float
    light: Light


class PairedTest(Result):
    """Two of them on one quantity: the difference and McNemar's exact test (McNemar, 1947)."""

    quantity: Literal["clean", "robust"]
    first: int
    """Number among `Comparison.compared`, from 0; so is `second`."""
    second: int
    difference: float
    """Second minus first, as a share of images."""
    low: float
    """95 % interval of the difference (Newcombe, 1998, method 10: paired, from Wilson's)."""
    high: float
    only_first: int
    """Images that the first gets right and the second does not."""
    only_second: int
    p_value: float
    """Two-sided and exact: how likely so uneven a split is if both are equally good."""
    p_adjusted: float
    """The same over all tests of the comparison together (Holm, 1979)."""


class DifferingImage(Result):
    """An image on which they do not agree."""

    number: int
    """Within the dataset's test part."""
    label: int
    clean_predictions: tuple[int, ...]
    worst_predictions: tuple[int, ...]
    robust: tuple[bool, ...]


class Caveat(Result):
    """One thing that makes a comparison uneven, or void."""

    severity: Literal["note", "warning"]
    """A warning is about figures that are not to be quoted or compared at all."""
    text: str
    """A sentence; may name models, which is outside text."""


class Comparison(Result):
    dataset: Lineage
    classes: tuple[str, ...]
    images: int
    """Images that every one of them measured."""
    compared: tuple[Compared, ...]
    tests: tuple[PairedTest, ...]
    differing: tuple[DifferingImage, ...]
    """Images on whose robustness they differ; those on which most disagree first."""
    differing_total: int
    caveats: tuple[Caveat, ...]
    """Warnings first; then other attacks, other budgets, other images."""
