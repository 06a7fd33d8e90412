"""Random points of the ball: no attack, but a control that no defence should lose to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from worker.attacks.draws import Draws
from worker.attacks.norms import Ball, Budget, Norm, check_norm, uniform_in_unit_ball
from worker.attacks.pgd import Model, check_batch


def noise(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: Budget,
    norm: Norm,
    draws: int,
    seed: int,
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """The first of `draws` uniform points of each ball that the model misclassifies, else x.

    Args:
        model: images in [0, 1] -> logits (N, K).
        x: images (N, C, H, W) in [0, 1].
        y: the true classes, (N,) int64.
        eps: radius of the ball; a number, or (N,) for one per image.
        norm: "linf", "l2" or "l1".
        draws: at least 1.
        seed: of the points, which are drawn for all images, whichever are broken already.
        seeds: one for each image, so that its draws are its own in any batch; None: they are the
            batch's as a whole.

    Raises:
        ValueError: an argument outside these bounds.
    """
    check_batch(x, y)
    check_norm(norm)
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    ball = Ball.around(x, eps, norm)
    found, source = ball.x.clone(), Draws(seed, seeds)
    with torch.no_grad():
        left = (model(x).argmax(dim=1) == y).nonzero().squeeze(1)  # (M,)
        for _ in range(draws):
            points = source.each(x, partial(uniform_in_unit_ball, norm))
            if len(left) == 0:
                break
            tried = ball.at(points)[left]
            standing = model(tried).argmax(dim=1) == y[left]
            found[left] = torch.where(standing.view(-1, 1, 1, 1), found[left], tried)
            left = left[standing]
    return found
