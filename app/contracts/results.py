"""What a finished job leaves: curves with their intervals, attention grids, model cards."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.contracts.params import Attack, CraftedOn, EvaluateParams, ExplainParams, TrainParams

Z_95 = 1.959963984540054
"""The standard normal's 97.5 % quantile."""


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Accuracy(_Result):
    """A share of images, in [0, 1], with its 95 % Wilson score interval (Wilson, 1927)."""

    correct: int = Field(ge=0)
    n: int = Field(ge=1)
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, correct: int, n: int) -> Self:
        """The share `correct / n` and its interval. Raises ValueError unless 0 <= correct <= n."""
        if not 0 <= correct <= n or n == 0:
            raise ValueError(f"{correct} of {n} is not a share")
        p, z2 = correct / n, Z_95**2
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = Z_95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        # At p = 0 and p = 1 one bound is exactly p; rounding must not move it past it.
        return cls(
            correct=correct,
            n=n,
            value=p,
            low=min(p, max(0.0, centre - half)),
            high=max(p, min(1.0, centre + half)),
        )


class CurvePoint(_Result):
    """Accuracy at one budget (in [0, 1] units) or one number of steps."""

    x: float
    accuracy: Accuracy


class Environment(_Result):
    """Where a figure was measured."""

    code_version: str
    torch: str
    device: str
    threads: int
    seconds: float


class DatasetReport(_Result):
    """What an import found. `skipped` counts files left out; `skipped_examples` names some."""

    classes: tuple[str, ...]
    image_size: int
    train_images: int
    test_images: int
    skipped: int = 0
    skipped_examples: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    has_masks: bool = False
    checksum: str


class ImportResult(_Result):
    kind: Literal["import"] = "import"
    dataset: str
    report: DatasetReport


class Lineage(_Result):
    """The model or dataset that a model came from."""

    id: str
    name: str
    sha256: str


class ModelCard(_Result):
    """Everything needed to judge a model, and to train it again."""

    name: str
    architecture: str
    parameters: int
    classes: tuple[str, ...]
    image_size: int
    dataset: Lineage
    teacher: Lineage | None
    params: TrainParams
    selection: str
    """How the kept epoch was chosen; never on test images."""
    epoch: int
    """The kept epoch, from 1."""
    validation_clean: Accuracy
    validation_robust: Accuracy | None
    """Under PGD-10 at the training budget; None for a clean model."""
    environment: Environment


class TrainResult(_Result):
    kind: Literal["train"] = "train"
    model: str
    card: ModelCard


class ModelCurves(_Result):
    """One model's figures in an evaluation."""

    model: str
    name: str
    sha256: str
    clean: Accuracy
    against_epsilon: tuple[CurvePoint, ...]
    against_steps: tuple[CurvePoint, ...]


class EvaluationResult(_Result):
    kind: Literal["evaluate"] = "evaluate"
    params: EvaluateParams
    dataset: Lineage
    images: int
    models: tuple[ModelCurves, ...]
    environment: Environment


Grid = tuple[tuple[float, ...], ...]
"""An attention map, rows of values in [0, 1]."""


class View(_Result):
    """What one model makes of one image."""

    probabilities: tuple[float, ...]
    attention: Grid
    """The paper's class-irrelevant channel sum."""
    grad_cam: Grid
    """For the class that the model predicts."""
    attention_l1: float
    """Mean absolute distance to the teacher's map on the clean image."""
    attention_cosine: float
    grad_cam_l1: float
    grad_cam_cosine: float


class Level(_Result):
    """One position of the slider. Images are PNG data, base64."""

    epsilon: float
    adversarial_png: str
    perturbation_png: str
    """Diverging: grey is no change, full colour is `perturbation_range`."""
    max_change: float
    """L-infinity norm of the perturbation, in [0, 1] units."""
    l2_change: float
    teacher: View
    student: View


class ExplainResult(_Result):
    """Everything that the live view shows, so that its slider needs no further call."""

    kind: Literal["explain"] = "explain"
    params: ExplainParams
    classes: tuple[str, ...]
    label: str
    label_is_given: bool
    teacher: Lineage
    student: Lineage
    crafted_on: CraftedOn
    attack: Attack
    clean_png: str
    perturbation_range: float
    """The change, in [0, 1] units, drawn in full colour in `perturbation_png`."""
    levels: tuple[Level, ...]
    """From 0 (the clean image) to the largest budget."""
    environment: Environment


JobResult = ImportResult | TrainResult | EvaluationResult | ExplainResult
