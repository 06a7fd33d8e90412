"""Attacks, one family a file: `(model, x, y, *, ...) -> x_adv`, images in [0, 1], logits out.

No budget has a default: a lost epsilon is a TypeError.
"""

from worker.attacks.fgsm import fgsm
from worker.attacks.iterative import Steps, feature_attack, iterate, projected_ascent
from worker.attacks.norms import Budget, Norm
from worker.attacks.pgd import AttackObjective, FirstBreak, Model, pgd

__all__ = [
    "AttackObjective",
    "Budget",
    "FirstBreak",
    "Model",
    "Norm",
    "Steps",
    "feature_attack",
    "fgsm",
    "iterate",
    "pgd",
    "projected_ascent",
]
