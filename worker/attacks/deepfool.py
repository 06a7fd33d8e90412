"""DeepFool (Moosavi-Dezfooli et al., CVPR 2016, arXiv 1511.04599), Linf and L2.

With z the logits, w_c = grad(z_c - z_y) and f_c = z_c - z_y at x_t, the model taken as linear has
its boundary with class c at the distance |f_c| / |w_c|_q, q dual to p. Towards the nearest one:

    r_t = (|f_c| / |w_c|_q + 1e-4) u(w_c)      x_{t+1} = x_0 + (1 + overshoot) (r_0 + ... + r_t)

u is the direction of unit norm along which w_c rises fastest; the 1e-4 is the authors'.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from worker.attacks.apgd import most_likely_wrong
from worker.attacks.norms import Budget, Norm, length, per_image, steepest
from worker.attacks.pgd import Model, check_steps


def deepfool(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: Budget,
    norm: Norm,
    steps: int = 50,
    classes: int = 10,
    overshoot: float = 0.02,
) -> Tensor:
    """The first iterate that breaks each image, else the last, (N, C, H, W).

    The clean image where that is outside eps. Images that broke leave the batch.

    Args:
        model: images in [0, 1] -> logits (N, K).
        x: images (N, C, H, W) in [0, 1].
        y: the true classes, (N,) int64.
        eps: radius of the ball; a number, or (N,) for one per image.
        norm: "linf" or "l2".
        steps: at most; at least 1.
        classes: how many, the most likely on the clean image and y among them, are looked at.
        overshoot: by which share a step goes beyond the boundary.

    Raises:
        ValueError: an argument outside these bounds.
    """
    check_steps(x, y, steps, norm, noise=None)
    if classes < 2:
        raise ValueError(f"classes must be at least 2, not {classes}")
    x, radius = x.detach(), per_image("eps", eps, x)
    with torch.no_grad():
        logits = model(x)
    rivals = most_likely_wrong(logits, y, classes - 1)  # (N, R)
    left = (logits.argmax(dim=1) == y).nonzero().squeeze(1)  # (M,): the images not yet broken
    found, x_adv, moved = x.clone(), x[left], torch.zeros_like(x[left])
    for _ in range(steps):
        if len(left) == 0:
            break
        step, logits = _to_nearest_boundary(model, x_adv, y[left], rivals[left], norm)
        kept = (logits.argmax(dim=1) == y[left]).nonzero().squeeze(1)
        left, moved = left[kept], moved[kept] + step[kept]
        x_adv = (x[left] + (1 + overshoot) * moved).clamp(0, 1)
        found[left] = x_adv
    inside = length(found - x, norm).view(-1, 1, 1, 1) <= radius
    return torch.where(inside, found, x)


def _to_nearest_boundary(
    model: Model, x_adv: Tensor, y: Tensor, rivals: Tensor, norm: Norm
) -> tuple[Tensor, Tensor]:
    """The step r_t for each image, (M, C, H, W), and the logits (M, K); rivals are (M, R)."""
    x_adv = x_adv.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(x_adv)
        gaps = logits.gather(1, rivals) - logits.gather(1, y[:, None])  # (M, R)
        totals = gaps.sum(dim=0).unbind()
    nearest, step = gaps.new_full((len(y),), torch.inf), torch.zeros_like(x_adv)
    for gap, total in zip(gaps.detach().unbind(dim=1), totals, strict=True):
        (gradient,) = torch.autograd.grad(total, x_adv, retain_graph=True)
        distance = _distance(gap, gradient, norm)
        nearer = distance < nearest
        nearest = torch.where(nearer, distance, nearest)
        towards = (distance + 1e-4).view(-1, 1, 1, 1) * steepest(gradient, norm)
        step = torch.where(nearer.view(-1, 1, 1, 1), towards, step)
    return step.detach(), logits.detach()


def _distance(gap: Tensor, gradient: Tensor, norm: Norm) -> Tensor:
    """|f| / |w|_q, (M,), but no farther than from one corner of the box to the other."""
    # In double precision: squares of a gradient that nearly vanishes underflow.
    slope = length(gradient.double(), "l1" if norm == "linf" else "l2")
    farthest = 1.0 if norm == "linf" else math.sqrt(math.prod(gradient.shape[1:]))
    return (gap.abs() / slope).clamp(max=farthest).to(gap.dtype)
