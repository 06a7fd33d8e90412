"""The success check of all attacks: the perturbed image itself, measured again on the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from worker.attacks import Budget, Model, Norm
from worker.attacks.losses import margin
from worker.attacks.norms import length as length_of
from worker.attacks.norms import slack

ROUNDING = 1e-5
"""By how much two ways through one network may differ, as a share of its largest logit."""


_COUNTS = ("out_of_range", "not_finite", "disproved")


class Success(NamedTuple):
    """Which attacks succeeded, image by image."""

    broken: Tensor
    """(M,) bool: finite, in [0, 1], inside the budget, and misclassified; an answer that is not
    finite is no right answer."""
    predicted: Tensor
    """(M,) int64: what the model says to the perturbed image."""
    length: Tensor
    """(M,) float64: the perturbation's norm; infinite where a pixel is not finite."""
    x_adv: Tensor
    """(M, C, H, W): the images that were measured."""

    @property
    def largest(self) -> float:
        """The largest finite norm; 0 of none."""
        return (
            float(self.length.where(self.length.isfinite(), 0.0).amax())
            if len(self.length)
            else 0.0
        )


class SuccessCheck:
    """Measures what attacks on one model return, and counts what was wrong with it."""

    def __init__(self, model: Model, norm: Norm) -> None:
        """`model` in eval mode; images in [0, 1] -> logits."""
        self._model, self._norm = model, norm
        self.out_of_range = 0
        """Images with a pixel outside [0, 1]."""
        self.not_finite = 0
        """Images with a NaN or an infinite pixel."""
        self.disproved = 0
        """Images that an attack said it had broken, and had not, by more than rounding."""

    def state(self) -> dict[str, int]:
        """What it has counted, for `load`."""
        return {name: getattr(self, name) for name in _COUNTS}

    def load(self, state: Mapping[str, int]) -> None:
        """Take in a `state`, of other images."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + state[name])

    def __call__(
        self, x: Tensor, x_adv: Tensor, y: Tensor, eps: Budget, claimed: Tensor | None = None
    ) -> Success:
        """Measure again the images x_adv (M, C, H, W) that an attack made of x, true classes y.

        A budget may be exceeded by as much as rounding does, `slack`.

        Args:
            eps: the budget; a number, or (M,) for one per image.
            claimed: (M,) bool, images that the attack says it broke.
        """
        with torch.no_grad():
            logits = self._model(x_adv)
        predicted, answered = logits.argmax(dim=1), logits.isfinite().all(dim=1)
        finite = x_adv.isfinite().flatten(1).all(dim=1)
        inside = ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(dim=1)
        length = length_of(x_adv.double() - x.double(), self._norm).where(finite, math.inf)
        budget = torch.as_tensor(eps, dtype=torch.float64, device=x.device)
        within = length <= budget + slack(float(budget.amax()), self._norm)
        sound = finite & inside & within
        broken = sound & ((predicted != y) | ~answered)
        self.not_finite += int((~finite).sum())
        self.out_of_range += int((finite & ~inside).sum())
        if claimed is not None:
            tied = margin(logits, y) >= -ROUNDING * logits.abs().amax(dim=1)
            self.disproved += int((claimed & ~broken & ~(sound & tied)).sum())
        return Success(broken, predicted, length, x_adv)
