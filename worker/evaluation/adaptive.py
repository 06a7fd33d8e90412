"""An attack made for this defence: on the decision and on the attention that it protects.

An attack has to look at what a defence adds (Tramèr et al., "On Adaptive Attacks to Adversarial
Example Defenses", NeurIPS 2020, arXiv 2002.08347). AGKD-BML ties a student's attention on attacked
images to the teacher's on clean ones, so this attack climbs, in one run after the other,

    L(x') = l(S(x'), y) + r k D(x'),    D(x') = mean |A(F_S(x')) - A(F_R(x))|

with l the cross-entropy or the margin of logits, A the attention map and R the reference: the
teacher, or the student itself. k = mean |grad l| / mean |grad D| at the start makes both parts pull
alike for each image, whatever the scale of its logits, so that r is their ratio. With r > 0 the
attack tears the attention away as well; with r < 0 it looks for examples that leave the attention
where the defence wants it, and fool the head alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from worker.agkd_bml.attention import attention_map, l1_distance
from worker.attacks import AttackObjective, FirstBreak, Norm, projected_ascent
from worker.attacks.losses import Loss, cross_entropy, margin
from worker.attacks.norms import Ball
from worker.attacks.pgd import gradient_of
from worker.evaluation.attention import on_grid
from worker.models import Outputs

RUNS: tuple[tuple[Loss, float], ...] = (
    (margin, 0.3),
    (margin, -0.3),
    (cross_entropy, 0.3),
    (margin, 1.0),
)
"""(l, r). Label smoothing, part of the method, blinds the cross-entropy: the margin finds what it
misses (measured in `docs/trust.md`). At a ratio of 1 attention leads, below it the decision."""


class Seeing(Protocol):
    """A model that shows its features: a `Classifier`, or whatever watches one."""

    def outputs(self, x: Tensor) -> Outputs: ...


@dataclass(frozen=True)
class _Target:
    """Images under attack, and where attention lay before."""

    model: Seeing
    x: Tensor
    y: Tensor
    expected: Tensor
    """A(F_R(x)), (M, h, w), at the resolution of the model's map."""

    def __getitem__(self, rows: Tensor) -> _Target:
        return _Target(self.model, self.x[rows], self.y[rows], self.expected[rows])

    def logits(self, x_adv: Tensor) -> Tensor:
        return self.model.outputs(x_adv).logits

    def moved(self, x_adv: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """D, and the logits of the same pass."""
        seen = self.model.outputs(x_adv)
        return l1_distance(attention_map(seen.features), self.expected[rows]), seen.logits

    def objective(self, loss: Loss, ratio: float, start: Tensor) -> AttackObjective:
        """l + r k D, with k taken at `start`; zero where attention has no gradient there."""

        def decision(x_adv: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            logits = self.logits(x_adv)
            return loss(logits, self.y[rows]), logits

        def both(x_adv: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            moved, logits = self.moved(x_adv, rows)
            return loss(logits, self.y[rows]) + weight[rows] * moved, logits

        every = torch.arange(len(self.x), device=self.x.device)
        pull, counter = (_pull(f, start, every) for f in (decision, self.moved))
        weight = ratio * torch.where(counter > 0, pull / counter, 0.0)
        return both


def adaptive(
    model: Seeing,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    step_size: float,
    steps: int,
    norm: Norm,
    noise: Tensor | None,
    reference: Seeing | None,
) -> FirstBreak:
    """PGD on the decision and on how far attention has moved, once for each of `RUNS`.

    Args:
        model: in eval mode.
        x, y: images (N, 3, H, W) in [0, 1] and their classes (N,), int64.
        eps, step_size: in units of [0, 1].
        steps: of each run; broken images take no part in the next.
        norm: "linf" or "l2".
        noise: a point of the unit ball for each image, where the runs start. None starts at the
            image, where one's own attention has not moved and has no gradient.
        reference: the model whose map of the clean image counts; None: the model itself.

    Returns:
        `first_break` counts the steps over all runs, one after the other.

    Raises:
        ValueError: arguments that `projected_ascent` refuses.
    """
    with torch.no_grad():
        features = model.outputs(x).features
        seen = features if reference is None else reference.outputs(x).features
    whole = _Target(model, x, y, on_grid(attention_map(seen), features.shape[2:]))
    start = Ball.around(x, eps, norm).at(noise)
    best = x.clone()
    first_break = torch.full_like(y, len(RUNS) * steps + 1)
    left = torch.arange(len(x), device=x.device)  # (M,)
    for run, (loss, ratio) in enumerate(RUNS):
        if len(left) == 0:
            break
        target = whole[left]
        found = projected_ascent(
            target.objective(loss, ratio, start[left]),
            target.logits,
            target.x,
            target.y,
            eps=eps,
            step_size=step_size,
            steps=steps,
            norm=norm,
            noise=None if noise is None else noise[left],
        )
        best[left] = found.x_adv
        broke = found.first_break <= steps
        before = torch.where(found.first_break > 0, run * steps, 0)  # 0 says: wrong when clean
        first_break[left[broke]] = (before + found.first_break)[broke]
        left = left[~broke]
    return FirstBreak(best, first_break)


def _pull(objective: AttackObjective, x: Tensor, rows: Tensor) -> Tensor:
    """The mean absolute gradient of each image, (M,)."""
    gradient, _ = gradient_of(objective, x, rows)
    return gradient.nan_to_num().abs().mean(dim=(1, 2, 3))
