"""Attacks, one family a file: `(model, x, y, *, ...) -> x_adv`, images in [0, 1], logits out.

No budget has a default: a lost epsilon is a TypeError.
"""

from worker.attacks.fgsm import fgsm
from worker.attacks.norms import Budget, Norm
from worker.attacks.pgd import FirstBreak, Model, Objective, pgd
from worker.attacks.walks import Steps, feature_walk, objective_walk, walk

__all__ = [
    "Budget",
    "FirstBreak",
    "Model",
    "Norm",
    "Objective",
    "Steps",
    "feature_walk",
    "fgsm",
    "objective_walk",
    "pgd",
    "walk",
]
