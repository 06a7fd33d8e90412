"""Architectures, by name. They normalise inside, take images in [0, 1] and return logits."""

from worker.models.base import Classifier, Outputs
from worker.models.black_box import BlackBox, BudgetSpentError
from worker.models.build import build
from worker.models.frozen import Frozen, Passes, frozen, frozen_passes
from worker.models.stages import Staged, staged
from worker.models.timm_models import TimmClassifier

AnyModel = Classifier | BlackBox
"""Images in [0, 1] -> logits; what else it gives, its access says."""

__all__ = [
    "AnyModel",
    "BlackBox",
    "BudgetSpentError",
    "Classifier",
    "Frozen",
    "Outputs",
    "Passes",
    "Staged",
    "TimmClassifier",
    "build",
    "frozen",
    "frozen_passes",
    "staged",
]
