"""What a training leaves."""

from __future__ import annotations

from typing import Literal

from app.contracts.params import TrainParams
from app.contracts.results.base import Accuracy, Environment, Lineage, Result


class ModelCard(Result):
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


class TrainResult(Result):
    kind: Literal["train"] = "train"
    model: str
    card: ModelCard
