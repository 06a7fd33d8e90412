"""An attack made for this defence: cross-entropy together with the attention that it protects.

An attack has to look at what a defence adds (Tramèr et al., "On Adaptive Attacks to Adversarial
Example Defenses", NeurIPS 2020, arXiv 2002.08347). AGKD-BML ties a student's attention on attacked
images to the teacher's on clean ones, so this attack climbs, for one weight w after the other,

    L(x') = CE(S(x'), y) + w * mean |A(F_S(x')) - A(F_R(x))|

with A the attention map and R the reference: the teacher, or the student itself. With w > 0 it
tears the attention away as well; with w < 0 it looks for examples that leave the attention where
the defence wants it, and fool the head alone.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from worker.agkd_bml.attention import attention_map, l1_distance
from worker.attacks import FirstBreak, Norm, Objective, objective_walk
from worker.attacks.losses import cross_entropy
from worker.evaluation.attention import on_grid
from worker.models import Outputs

WEIGHTS = (10.0, -10.0, 100.0)
"""w. The distance lies in [0, 1] and mostly near 0.1; the loss of a standing image is below ln 2
to 3, so that at 10 both pull alike, and at 100 attention alone."""


class Seeing(Protocol):
    """A model that shows its features: a `Classifier`, or whatever watches one."""

    def outputs(self, x: Tensor) -> Outputs: ...


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
    """PGD on cross-entropy plus w times the distance that attention has moved, for each weight.

    Args:
        model: in eval mode.
        x, y: images (N, 3, H, W) in [0, 1] and their classes (N,), int64.
        eps, step_size: in units of [0, 1].
        steps: of each of the `len(WEIGHTS)` runs; broken images take no part in the next.
        norm: "linf" or "l2".
        noise: a point of the unit ball for each image, where the walks start; None: at the image.
        reference: the model whose map of the clean image counts; None: the model itself.

    Returns:
        As every walk: `first_break` counts the steps over all runs, one after the other.

    Raises:
        ValueError: arguments that `objective_walk` refuses.
    """
    with torch.no_grad():
        size = model.outputs(x).features.shape[2:]
        seen = (reference or model).outputs(x).features
    expected = on_grid(attention_map(seen), size)  # (N, h, w)
    best = x.clone()
    first_break = torch.full_like(y, len(WEIGHTS) * steps + 1)
    left = torch.arange(len(x), device=x.device)  # (M,)
    for run, weight in enumerate(WEIGHTS):
        found = objective_walk(
            _objective(model, y[left], expected[left], weight),
            lambda images: model.outputs(images).logits,
            x[left],
            y[left],
            eps=eps,
            step_size=step_size,
            steps=steps,
            norm=norm,
            noise=None if noise is None else noise[left],
        )
        best[left] = found.x_adv
        broke = found.first_break <= steps
        after = torch.where(found.first_break > 0, run * steps, 0)  # 0 stays: wrong when clean
        first_break[left[broke]] = (found.first_break + after)[broke]
        left = left[~broke]
    return FirstBreak(best, first_break)


def _objective(model: Seeing, y: Tensor, expected: Tensor, weight: float) -> Objective:
    """Of the images (M, 3, H, W) at `rows` (M,) of the batch that y and `expected` describe."""

    def objective(x_adv: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        seen = model.outputs(x_adv)
        moved = l1_distance(attention_map(seen.features), expected[rows])
        return cross_entropy(seen.logits, y[rows]) + weight * moved, seen.logits

    return objective
