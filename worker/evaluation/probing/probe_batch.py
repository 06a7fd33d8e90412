"""The ground of a probe: a few images, the attack of the run, and what is measured again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.attacks import Model, Norm, Steps, iterate
from worker.attacks.norms import length, slack
from worker.evaluation.arguments import seed_of
from worker.evaluation.success import SuccessCheck

_SHRINK = (1.0, 0.99, 0.97, 0.94, 0.9)

Craft = Callable[[Tensor], Tensor]
"""Places of images (M,) -> the same images attacked, (M, C, H, W)."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """The images of a probe, and a model that answers."""

    model: Model
    x: Tensor
    """(N, C, H, W)"""
    y: Tensor
    """(N,)"""
    eps: float
    norm: Norm
    seed: int
    batch_size: int

    def parts(self, rows: Tensor) -> Sequence[Tensor]:
        """Places (M,) in batches; none where there are none."""
        return torch.split(rows, self.batch_size) if len(rows) else ()

    def seeds(self, rows: Tensor) -> list[int]:
        """Of what is drawn for the images at `rows` (M,), one each."""
        return [seed_of(self.seed, row) for row in rows.tolist()]

    @torch.no_grad()
    def answers(self, rows: Tensor) -> Tensor:
        """What the model says of the clean images at `rows` (M,): (M,) int64."""
        found = [self.model(self.x[part]).argmax(dim=1) for part in self.parts(rows)]
        return torch.cat([rows[:0], *found])

    def broken(self, rows: Tensor, craft: Craft, eps: float, model: Model | None = None) -> Tensor:
        """Which of the images at `rows` (M,) the attack breaks, measured again: (M,) bool.

        On `model`, or on the one under test.
        """
        results = [torch.zeros(0, dtype=torch.bool, device=self.x.device)]
        for part in self.parts(rows):
            results.append(self.measured(part, craft(part), eps, model))
        return torch.cat(results)

    def measured(
        self, part: Tensor, x_adv: Tensor, eps: float, model: Model | None = None
    ) -> Tensor:
        """Which perturbed images (M, C, H, W) are misclassified within the budget: (M,) bool."""
        success_check = SuccessCheck(model or self.model, self.norm)
        return success_check(self.x[part], x_adv, self.y[part], eps).broken


@dataclass(frozen=True, kw_only=True)
class ProbeBatch(Asking):
    """The same with the attack along gradients that the run used."""

    how: Steps
    start: Tensor
    """A point of the unit ball for each image, (N, C, H, W)."""

    @property
    def whole(self) -> float:
        """The radius of the ball that holds all of [0, 1], around whatever image."""
        d = math.prod(self.x.shape[1:])
        return {"linf": 1.0, "l2": math.sqrt(d), "l1": float(d)}[self.norm]

    def first_breaks(self, model: Model, how: Steps, eps: float, norm: Norm | None = None) -> Craft:
        """An attack of steps on `model`: the first iterate that breaks each image."""

        def craft(part: Tensor) -> Tensor:
            x, y, start = self.x[part], self.y[part], self.start[part]
            found = iterate(model, x, y, how=how, eps=eps, norm=norm or self.norm, noise=start)
            return found.x_adv

        return craft

    def last_iterates(self, model: Model, how: Steps) -> Craft:
        """The same at the budget, all steps with all images, whatever they break."""

        def craft(part: Tensor) -> Tensor:
            return iterate(
                model,
                self.x[part],
                self.y[part],
                how=how,
                eps=self.eps,
                norm=self.norm,
                noise=self.start[part],
                may_break=False,
            ).x_adv

        return craft


def to_eight_bits(x_adv: Tensor, x: Tensor, *, eps: float, norm: Norm) -> Tensor:
    """The perturbed images with pixels n / 255, and inside the ball around x, (N, C, H, W).

    Rounding may carry an image out of its ball. It is then rounded from a little nearer to x, or as
    a last resort each pixel goes to the next grey level on x's side.

    Args:
        x_adv, x: images in [0, 1], (N, C, H, W); x with pixels n / 255 itself.
    """
    delta = x_adv - x
    result = x + delta.sign() * (255 * delta.abs()).floor() / 255
    done = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for share in _SHRINK:
        rounded = (255 * (x + share * delta)).round() / 255
        lengths = length(rounded.double() - x.double(), norm)
        fits = lengths <= eps + slack(eps, norm)
        result = torch.where((fits & ~done).view(-1, 1, 1, 1), rounded, result)
        done |= fits
    return result
