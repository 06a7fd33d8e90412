"""Carlini and Wagner's L2 attack (S&P 2017, arXiv 1608.04644, section VI).

With x' = (tanh(w) + 1) / 2 and z the logits, Adam minimises over w, from w_0 that gives x,

    |x' - x|_2^2 + c max(z_y - max_{k != y} z_k, 0)

and a binary search looks for the smallest c that breaks the image: tenfold until one does, then by
halves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worker.attacks.losses import margin
from worker.attacks.norms import Budget, length, per_image
from worker.attacks.pgd import Model, check_steps

ALMOST_ONE = 0.999999
"""Black and white are drawn in by this factor, since tanh reaches them nowhere."""


def cw_l2(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: Budget,
    searches: int = 9,
    steps: int = 100,
    step_size: float = 0.01,
    constant: float = 1e-3,
) -> Tensor:
    """The nearest broken image of the first search that found one inside eps, else the clean one.

    Images broken inside eps leave the batch after the search: a nearer one would show no more.

    Args:
        model: images in [0, 1] -> logits (N, K).
        x: images (N, C, H, W) in [0, 1].
        y: the true classes, (N,) int64.
        eps: radius of the L2 ball; a number, or (N,) for one per image.
        searches: how many values of c are tried; at least 1.
        steps: of Adam for each value of c; at least 1. The authors take up to 10,000.
        step_size: of Adam, in w.
        constant: the first c.

    Raises:
        ValueError: an argument outside these bounds.
    """
    check_steps(x, y, steps, "l2", noise=None)
    if searches < 1 or step_size <= 0 or constant <= 0:
        raise ValueError("searches must be at least 1, step_size and constant positive")
    x, radius = x.detach(), per_image("eps", eps, x).flatten()
    with torch.no_grad():
        left = (model(x).argmax(dim=1) == y).nonzero().squeeze(1)  # (M,): not yet broken
    found = x.clone()
    c = torch.full_like(radius, constant)
    lower, upper = torch.zeros_like(c), torch.full_like(c, torch.inf)
    for _ in range(searches):
        if len(left) == 0:
            break
        x_adv, distance = _descend(model, x[left], y[left], c[left], steps, step_size)
        inside = distance <= radius[left]
        found[left] = torch.where(inside.view(-1, 1, 1, 1), x_adv, found[left])
        broke = distance.isfinite()
        upper[left] = torch.where(broke, c[left], upper[left])
        lower[left] = torch.where(broke, lower[left], c[left])
        c = torch.where(upper.isinf(), 10 * c, (lower + upper) / 2)
        left = left[~inside]
    return found


def _descend(
    model: Model, x: Tensor, y: Tensor, c: Tensor, steps: int, step_size: float
) -> tuple[Tensor, Tensor]:
    """The nearest broken iterate of each image, (M, C, H, W), and its L2 distance, inf for none."""
    start = (ALMOST_ONE * (2 * x - 1)).atanh()
    origin = _image(start)
    delta = torch.zeros_like(start).requires_grad_()
    adam = torch.optim.Adam([delta], lr=step_size)
    nearest, best = torch.full_like(c, torch.inf), x.clone()
    for _ in range(steps):
        with torch.enable_grad():
            x_adv = _image(start + delta)
            logits = model(x_adv)
            squares = (x_adv - origin).square().sum(dim=(1, 2, 3))
            loss = squares + c * (-margin(logits, y)).clamp(min=0)
            total = loss.sum()
        (delta.grad,) = torch.autograd.grad(total, delta)
        adam.step()
        x_adv = x_adv.detach()
        distance = length(x_adv - x, "l2")
        nearer = (logits.argmax(dim=1) != y) & (distance < nearest)
        nearest = torch.where(nearer, distance, nearest)
        best = torch.where(nearer.view(-1, 1, 1, 1), x_adv, best)
    return best, nearest


def _image(w: Tensor) -> Tensor:
    return (w.tanh() + 1) / 2
