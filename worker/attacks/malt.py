"""MALT: aims at the classes whose boundary lies nearest if the model were linear, not at those that
look likely (Melamed et al., NeurIPS 2024, arXiv 2407.02240).

Every candidate class c, one of the most likely wrong ones, gets the score

    d_c = (z_y(x) - z_c(x)) / |grad_x (z_y - z_c)|_q,

z the logits and q the norm dual to that of the budget, so that of a linear model d_c is the very
distance to the boundary with c. Auto-PGD then aims at the classes of the smallest scores in turn.
The gradients cost one backward pass a candidate, which a handful of spared targets pays back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from worker.attacks.apgd import apgd_towards, check, most_likely_wrong
from worker.attacks.draws import Draws
from worker.attacks.norms import Budget, Norm
from worker.attacks.pgd import Model

CANDIDATES = 100
"""How many classes get a score; the authors' value."""
_DUAL: dict[Norm, float] = {"linf": 1.0, "l2": 2.0, "l1": math.inf}


def malt(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: Budget,
    steps: int,
    norm: Norm,
    targets: int,
    seed: int,
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """Auto-PGD towards each of the min(targets, K - 1) nearest classes, in turn.

    Arguments, result and errors are those of `worker.attacks.apgd.apgd_targeted`, which differs in
    the classes it takes and in their order alone.
    """
    check(x, y, steps, norm)
    if targets < 1:
        raise ValueError(f"targets must be at least 1, not {targets}")
    found = linear_distances(model, x, y, norm=norm, candidates=CANDIDATES)
    nearest = found.distances.argsort(dim=1, stable=True)[:, :targets]  # (N, C) -> (N, targets)
    classes, standing = found.classes.gather(1, nearest), found.logits.argmax(dim=1) == y
    return apgd_towards(
        model, x, y, classes, standing, eps=eps, steps=steps, norm=norm, draws=Draws(seed, seeds)
    )


class LinearDistances(NamedTuple):
    """How far each candidate class would be if the model were linear."""

    distances: Tensor
    """d_c, (N, C); infinite where no pixel moves a class's logit against the true one."""
    classes: Tensor
    """The candidates, the most likely first, (N, C) int64."""
    logits: Tensor
    """Of the images as they are, (N, K)."""


def linear_distances(
    model: Model, x: Tensor, y: Tensor, *, norm: Norm, candidates: int
) -> LinearDistances:
    """d_c of the min(candidates, K - 1) most likely wrong classes."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(x)
        classes = most_likely_wrong(logits.detach(), y, candidates)
        differences = logits.gather(1, y[:, None]) - logits.gather(1, classes)  # (N, C)
        slopes = [
            _slope(x, difference, norm, last=c == classes.shape[1] - 1)
            for c, difference in enumerate(differences.unbind(dim=1))
        ]
    slope = torch.stack(slopes, dim=1)  # (N, C)
    distances = torch.where(slope > 0, differences.detach() / slope, math.inf)
    return LinearDistances(distances, classes, logits.detach())


def _slope(x: Tensor, difference: Tensor, norm: Norm, *, last: bool) -> Tensor:
    """The dual norm of each image's gradient, (N,)."""
    (gradient,) = torch.autograd.grad(difference.sum(), x, retain_graph=not last)
    slope: Tensor = torch.linalg.vector_norm(gradient.flatten(1), _DUAL[norm], dim=1)
    return slope
