"""Fast adaptive boundary attack, towards one class after the other (FAB-T).

Croce and Hein, ICML 2020, arXiv 1907.02044, algorithm 1. It looks for the nearest point across the
boundary rather than for the highest loss in the ball, so it sees other weaknesses. With z the
logits, y the true class, t another, and x the image, each step takes the network as linear around
x_i, so that the boundary is a plane π, and goes a little beyond it, pulled towards x:

    x_{i+1} = clip((1 - α) (x_i + η δ_i) + α (x + η δ)),    α = min(|δ_i| / (|δ_i| + |δ|), 0.1)

δ_i and δ lead from x_i and from x to the nearest point of π in the box. Where x_{i+1} is
misclassified, it is noted if it is the nearest so far, and goes back to x + 0.9 (x_{i+1} - x).
The points are those of the authors' code up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from worker.attacks.apgd import most_likely_wrong
from worker.attacks.norms import Budget, Norm, broadcast, check_norm, length, per_image
from worker.attacks.pgd import Model, check_batch

OVERSHOOT, BACK, MOST_PULL = 1.05, 0.9, 0.1
"""The authors' η, β and α_max."""
LEAST_LENGTH = 1e-8
FULL_BATCH = 32
"""Images that use the processor well: fewer go towards several classes at once."""


def fab_targeted(
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
    """The nearest point across the boundary to each of the min(targets, K - 1) likeliest classes.

    Images for which a point within ε was found leave before the next class; where few are left,
    before the next few classes, and the first of these that broke an image counts.

    Args:
        model: images in [0, 1] -> logits (N, K), in eval mode.
        x: images (N, C, H, W) in [0, 1]; the range is not checked.
        y: the true classes, (N,) int64.
        eps: radius of the ball in units of [0, 1]; a number, or (N,) for one per image.
        steps: at least 1, towards each class.
        norm: "linf", "l2" or "l1".
        targets: at least 1.
        seed, seeds: change nothing: a single run towards each class starts at the image itself.

    Returns:
        The broken images, (N, C, H, W); those that withstood, or were wrong before, as they were.

    Raises:
        ValueError: an argument outside these bounds.
    """
    check_batch(x, y)
    check_norm(norm)
    for name, value in (("steps", steps), ("targets", targets)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    radius = per_image("eps", eps, x).flatten()
    best = x.detach().clone()
    with torch.no_grad():
        logits = model(best)
    standing = logits.argmax(dim=1) == y
    classes = most_likely_wrong(logits, y, targets)
    while classes.shape[1] > 0:
        left = standing.nonzero().squeeze(1)  # (M,)
        if len(left) == 0:
            break
        few = max(1, FULL_BATCH // len(left))  # classes at once, A
        aims, classes = classes[:, :few], classes[:, few:]
        rows = left.repeat(aims.shape[1])  # (A M,), class after class
        found, distance = _nearest(model, best[rows], y[rows], aims[left].T.flatten(), steps, norm)
        for begin in range(0, len(rows), len(left)):
            part = slice(begin, begin + len(left))
            broke = standing[left] & (distance[part] <= radius[left])
            best[left[broke]] = found[part][broke]
            standing[left[broke]] = False
    return best


def _nearest(
    model: Model, x: Tensor, y: Tensor, target: Tensor, steps: int, norm: Norm
) -> tuple[Tensor, Tensor]:
    """The nearest misclassified points met on the way to `target`, (M, C, H, W), and how far.

    Distances (M,) are infinite where there was none; such images are as they were.
    """
    best, distance, x_i = x, x.new_full((len(x),), torch.inf), x
    for _ in range(steps):
        difference, w = _linearised(model, x_i, y, target)
        # Up to here π is where difference + w (. - x_i) = 0.
        here = _to_plane(x_i, w, difference, norm)
        start = _to_plane(x, w, difference + (w * (x - x_i)).sum(dim=(1, 2, 3)), norm)
        far, near = (length(d, norm).clamp(min=LEAST_LENGTH) for d in (start, here))
        pull = broadcast((near / (near + far)).clamp(max=MOST_PULL))
        x_i = (1 - pull) * (x_i + OVERSHOOT * here) + pull * (x + OVERSHOOT * start)
        x_i = x_i.clamp(0, 1)
        with torch.no_grad():
            broke = model(x_i).argmax(dim=1) != y
        delta = x_i - x
        size = length(delta, norm)
        nearer = broke & (size < distance)
        best = torch.where(broadcast(nearer), x_i, best)
        distance = torch.where(nearer, size, distance)
        x_i = torch.where(broadcast(broke), x + BACK * delta, x_i)
    return best, distance


def _linearised(model: Model, x: Tensor, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """z_t - z_y, (M,), and its gradient, (M, C, H, W)."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(x)
        towards, away = logits.gather(1, torch.stack([target, y], dim=1)).unbind(dim=1)
        difference = towards - away
        total = difference.sum()  # a sum keeps images independent
    (gradient,) = torch.autograd.grad(total, x)
    return difference.detach(), gradient


def _to_plane(x: Tensor, w: Tensor, height: Tensor, norm: Norm) -> Tensor:
    """The shortest δ with height + w δ = 0 and x + δ in [0, 1], (M, C, H, W).

    Where the box does not reach the plane, all the way to its walls. `height` is (M,).
    """
    direction = -w.sign() * broadcast(height.sign())
    # What the box leaves in that direction; none where w is zero.
    room = torch.where(direction > 0, 1 - x, x) * direction.abs()
    size, target = w.abs(), height.abs()
    if norm == "linf":
        return direction * torch.minimum(room, broadcast(_level(size, room, target)))
    if norm == "l2":
        stop = (room / size).nan_to_num(posinf=0.0)
        level = _level(size.square(), stop, target)
        return direction * size * torch.minimum(stop, broadcast(level))
    return direction * _largest_first(size, room, target)


def _level(rate: Tensor, stop: Tensor, target: Tensor) -> Tensor:
    """The least λ >= 0 with Σ rate_i min(λ, stop_i) = target, (M,); infinite if there is none.

    The sum is concave in λ and linear between the stops, so Newton's method rises to the solution
    in a few steps, one for each time that other entries have come to their stop.
    """
    level, full = torch.zeros_like(target), rate * stop
    while True:
        running = stop > broadcast(level)
        rest = target - full.masked_fill(running, 0).sum(dim=(1, 2, 3))
        slope = (rate * running).sum(dim=(1, 2, 3))
        higher = torch.where(slope > 0, rest / slope, torch.inf)
        if not (higher > level).any():
            return level
        level = torch.maximum(level, higher)


def _largest_first(size: Tensor, room: Tensor, target: Tensor) -> Tensor:
    """u in [0, room] of the least sum with Σ size_i u_i = target: entries by their size."""
    falling, order = size.flatten(1).sort(dim=1, descending=True)
    most = falling * room.flatten(1).gather(1, order)
    left = torch.cat([target[:, None], -most[:, :-1]], dim=1).cumsum(dim=1)  # before each entry
    moved = (torch.minimum(left.clamp(min=0), most) / falling).nan_to_num()
    return torch.zeros_like(moved).scatter(1, order, moved).view(size.shape)
