"""What an evaluation leaves: figures of each model, and the evidence for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import FailFast

from app.contracts.params import EvaluateParams, Method
from app.contracts.results.base import (
    Accuracy,
    CurvePoint,
    Environment,
    Integers,
    Lineage,
    Mean,
    Numbers,
    Result,
)
from app.contracts.results.gallery import Gallery
from app.contracts.results.verdict import Verdict


class AttackRow(Result):
    """One attack at the budget of the threat model, after those before it."""

    method: Method
    source: Lineage | None = None
    """The model that a transfer attack attacked."""
    part_of_autoattack: bool = False
    """Whether it ran with the pinned values of AutoAttack standard, as a part of it."""
    attacked: int
    """Images that stood when it began."""
    broken: int
    """Of these, how many it broke; counted on the perturbed images themselves, measured again."""
    worst_case: Accuracy
    """Robust accuracy over this attack and all before it, for each image the worst."""
    alone: Accuracy | None = None
    """Robust accuracy under this attack alone; None where it did not see every image."""
    largest: float
    """The largest norm of a perturbation that it returned, in units of [0, 1]."""
    seconds: float


def after_autoattack(attacks: Sequence[AttackRow]) -> Accuracy | None:
    """The worst case once all of AutoAttack ran, over it and all before it; None without it."""
    parts = [row.worst_case for row in attacks if row.part_of_autoattack]
    return parts[-1] if parts else None


class ClassFigures(Result):
    """One class among the images; None where there is no image of it."""

    clean: Accuracy | None
    robust: Accuracy | None


class Corruption(Result):
    """Accuracy on images of one common corruption; 1 is the weakest severity, 5 the strongest."""

    name: str
    severity: int
    accuracy: Accuracy


class AttentionDistance(Result):
    """How far a model's maps lie from the reference's maps on the clean images."""

    measure: Literal["l1", "cosine", "iou"]
    """L1 and cosine distance; IoU of the most attended fifth, where 1 is the same region."""
    clean: Mean
    adversarial: Mean
    adversarial_kept: Mean | None
    """Where the attack left the prediction as it was; None where there is no such image."""
    adversarial_flipped: Mean | None
    """Where the attack changed the prediction."""
    auc: float | None
    """Probability that a flipped image's map lies farther away than a kept one's (0.5: no link)."""
    auc_interval: tuple[float, float] | None = None
    """Its 95 % interval (DeLong et al., 1988); None with fewer than two images of either kind."""


class AttentionInside(Result):
    """How much of the attention falls on the object, on datasets that come with masks."""

    clean: Mean
    """Share of the attention inside the mask."""
    adversarial: Mean
    adversarial_kept: Mean | None = None
    """Where the attack left the prediction as it was; None where there is no such image."""
    adversarial_flipped: Mean | None = None
    """Where the attack changed the prediction."""
    area: Mean
    """Share of the image inside the mask: what attention spread evenly would reach."""
    pointing_clean: Accuracy
    """The pointing game: how often the most attended position lies on the object."""
    pointing_adversarial: Accuracy
    pointing_area: Mean | None = None
    """Share of positions that lie on the object: what pointing at random would reach."""


class AttentionFigures(Result):
    """Attention of one model, clean and under attack, beside a reference."""

    reference: Lineage
    """The model whose maps on clean images are compared with: the teacher, or the model itself."""
    images: int
    distances: tuple[AttentionDistance, ...]
    inside: AttentionInside | None
    clean_l1: Numbers
    """For each image, the L1 distance of the clean map to the reference's."""
    adversarial_l1: Numbers
    flipped: Annotated[tuple[bool, ...], FailFast()]
    """Whether the attack changed the prediction of the image."""


class Projection(Result):
    """Embeddings in the plane, (x, y) of every point."""

    name: Literal["pca", "tsne"]
    x: Numbers
    y: Numbers
    explained: float | None
    """Share of the variance that the plane holds, for PCA."""


class EmbeddingView(Result):
    """Where examples lie among the features. Points come in three equal parts of the same images:
    all clean ones, all forward examples, all backward examples."""

    classes: Integers
    """The true class y of each image, once."""
    confusing: Integers
    """The most confusing class y' of each image, once; a backward example starts there."""
    projections: tuple[Projection, ...]


class Outcomes(Result):
    """What happened to each image, in the order of `EvaluationResult.image_numbers`."""

    clean_prediction: Integers
    worst_prediction: Integers
    """The class the model gives to the example that broke it; the true class where none did."""
    broken_by: Integers
    """0: wrong on the clean image. k: the k-th of the model's attacks. -1: it stands."""
    minimal_epsilon: Annotated[tuple[float | None, ...], FailFast()] = ()
    """Smallest budget that breaks the image; None where the largest tried does not. Empty where it
    was not asked for."""


class Mapped(Result):
    """A model whose classes are not the dataset's, one by one: they were found by their names."""

    outputs: int
    """Of the model."""
    left_out: tuple[str, ...]
    """Its classes that the dataset has not, the first of them: it was not asked about these."""
    renamed: tuple[str, ...]
    """Classes that the model writes in another way: `Automobile for automobile`."""


class ModelFigures(Result):
    """One model's figures in an evaluation."""

    model: str
    name: str
    sha256: str
    mapped: Mapped | None = None
    """How its outputs were taken for the dataset's classes; None where they are the same, in the
    same order."""
    asked: int | None = None
    """Images that a model which only answers was asked about, without what an interrupted attempt
    asked after its last save; None of others."""
    clean: Accuracy
    robust: Accuracy | None = None
    """The worst case over all attacks at the budget of the threat model, image by image."""
    attacks: tuple[AttackRow, ...] = ()
    against_epsilon: tuple[CurvePoint, ...]
    against_steps: tuple[CurvePoint, ...]
    against_restarts: tuple[CurvePoint, ...] = ()
    against_queries: tuple[CurvePoint, ...] = ()
    per_class: tuple[ClassFigures, ...] = ()
    confusion_clean: tuple[tuple[int, ...], ...] = ()
    """Images of class i (row) that the model gives class j (column)."""
    confusion_robust: tuple[tuple[int, ...], ...] = ()
    """The same for the worst case of each image."""
    corruptions: tuple[Corruption, ...] = ()
    attention: AttentionFigures | None = None
    embedding: EmbeddingView | None = None
    verdict: Verdict | None = None
    """None in results of lab 0.1, which did not check."""
    outcomes: Outcomes | None = None
    """None in results of lab 0.1."""
    gallery: Gallery | None = None
    """None in results from before evaluations kept images."""


class Pace(Result):
    """How fast an evaluation went, and what other attacks would have taken."""

    passes: float
    """Passes of an image through a model, forward and backward, that were made in its time."""
    an_image: dict[Method, float]
    """Passes that an attack takes at most with an image that it does not break, at the parameters
    of this evaluation; of every method that its norm has."""


class EvaluationResult(Result):
    kind: Literal["evaluate"] = "evaluate"
    params: EvaluateParams
    dataset: Lineage
    images: int
    """How many were measured; fewer than asked for where the run stopped at its band."""
    classes: tuple[str, ...] = ()
    image_numbers: Integers = ()
    """Of each image, its number within the dataset's test part."""
    labels: Integers = ()
    models: tuple[ModelFigures, ...]
    stopped_early: bool = False
    """Whether the band was narrow enough before all images were measured."""
    pace: Pace | None = None
    """None in results from before it was kept."""
    environment: Environment
