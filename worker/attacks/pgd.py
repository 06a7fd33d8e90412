"""Projected gradient descent (Madry et al., ICLR 2018, arXiv 1706.06083).

With L the cross-entropy, u the unit step of steepest ascent in the norm, P the projection onto the
ball of radius eps around x and onto [0, 1]:

    untargeted   x_{t+1} = P(x_t + step_size * u(grad L(model(x_t), y)))     y: the true class
    targeted     x_{t+1} = P(x_t - step_size * u(grad L(model(x_t), y)))     y: the class to reach

The model is called as it is: put it in eval mode first, or its batch norms see the attack. Only
the gradient for the images is computed, none for parameters. Images keep their memory format.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from worker.attacks.norms import (
    Budget,
    Norm,
    check_norm,
    per_image,
    project,
    steepest,
    uniform_in_ball,
)

Model = Callable[[Tensor], Tensor]


class FirstBreak(NamedTuple):
    """When an attack first reached its goal, image by image."""

    x_adv: Tensor
    """(N, C, H, W): the first iterate that reached the goal, else the last iterate."""
    first_break: Tensor
    """(N,) int64: 0 where the clean image already meets the goal, s where s steps were needed,
    steps + 1 where the goal was not reached. Accuracy after s steps: (first_break > s).mean()."""


def pgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: Budget,
    step_size: Budget,
    steps: int,
    norm: Norm,
    targeted: bool,
    random_start: bool,
    generator: torch.Generator | None,
    noise: Tensor | None = None,
) -> Tensor:
    """The last iterate of projected gradient descent, (N, C, H, W).

    Args:
        model: images in [0, 1] -> logits (N, K).
        x: images (N, C, H, W) in [0, 1]; the range is not checked.
        y: classes (N,), int64: the true ones, or if targeted those to reach.
        eps: radius of the ball in units of [0, 1]; a number, or (N,) for one per image.
        step_size: length of a step in the same norm and unit; a number, or (N,).
        steps: at least 1.
        norm: "linf" or "l2".
        random_start: start uniformly in the ball instead of at x.
        generator: of the random start, on x's device; it may be None without one.
        noise: a point of the unit ball for every image, (N, C, H, W); eps times it is the random
            start, and nothing is drawn.

    Raises:
        ValueError: an argument outside these bounds.
    """
    _check(x, y, steps, norm, random_start, generator, noise)
    radius, length = per_image("eps", eps, x), per_image("step_size", step_size, x)
    x_adv = _start(x, radius, norm, random_start, generator, noise)
    for _ in range(steps):
        gradient, _ = _gradient(model, x_adv, y)
        x_adv = _step(x_adv, gradient, x, radius, length, norm, targeted)
    return x_adv


def pgd_first_break(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: Budget,
    step_size: Budget,
    steps: int,
    norm: Norm,
    targeted: bool,
    random_start: bool,
    generator: torch.Generator | None,
    noise: Tensor | None = None,
    true_class: Tensor | None = None,
) -> FirstBreak:
    """Projected gradient descent that stops for each image at the first iterate to reach the goal.

    The goal: a class other than y, or y itself if targeted. With `true_class`, (N,) int64, the goal
    of a targeted attack is any class but that one, so that it is measured like an untargeted one.
    The iterates are those of `pgd`, so one run answers for every smaller number of steps. A random
    start that meets the goal by itself counts as one step. Images that met the goal leave the
    batch, which waits for the device once a step. Other arguments and errors are those of `pgd`.
    """
    _check(x, y, steps, norm, random_start, generator, noise)
    radius, length = per_image("eps", eps, x), per_image("step_size", step_size, x)
    goal, reach = (y, targeted) if true_class is None else (true_class, False)
    with torch.no_grad():
        met = _goal_met(model(x), goal, reach)
    first_break = torch.where(met, 0, steps + 1)
    best = x.clone()
    left = (~met).nonzero().squeeze(1)  # (M,): the images still under attack
    x_adv = _start(x, radius, norm, random_start, generator, noise)[left]
    for step in range(1, steps + 1):
        if len(left) == 0:
            return FirstBreak(best, first_break)
        gradient, logits = _gradient(model, x_adv, y[left])  # after step - 1 steps
        met = _goal_met(logits, goal[left], reach)
        best[left[met]] = x_adv[met]
        first_break[left[met]] = max(step - 1, 1)
        left, x_adv, gradient = left[~met], x_adv[~met], gradient[~met]  # (N, ...) -> (M, ...)
        x_adv = _step(x_adv, gradient, x[left], radius[left], length[left], norm, targeted)
    if len(left) > 0:
        best[left] = x_adv
        with torch.no_grad():
            met = _goal_met(model(x_adv), goal[left], reach)
        first_break[left[met]] = steps
    return FirstBreak(best, first_break)


def _check(
    x: Tensor,
    y: Tensor,
    steps: int,
    norm: Norm,
    random_start: bool,
    generator: torch.Generator | None,
    noise: Tensor | None,
) -> None:
    if x.dim() != 4 or not x.is_floating_point():
        raise ValueError(f"x must be float images (N, C, H, W), not {x.dtype} {tuple(x.shape)}")
    if y.shape != (len(x),) or y.dtype != torch.int64:
        raise ValueError(f"y must be int64 ({len(x)},), not {y.dtype} {tuple(y.shape)}")
    check_norm(norm, among=("linf", "l2"))
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if random_start and generator is None and noise is None:
        raise ValueError("a random start needs a generator or noise")
    if noise is not None and noise.shape != x.shape:
        raise ValueError(f"noise must be like x, {tuple(x.shape)}, not {tuple(noise.shape)}")


def _start(
    x: Tensor,
    radius: Tensor,
    norm: Norm,
    random_start: bool,
    generator: torch.Generator | None,
    noise: Tensor | None,
) -> Tensor:
    x = x.detach()
    if not random_start:
        return x
    if noise is not None:
        return (x + radius * noise).clamp(0, 1)
    assert generator is not None
    return (x + uniform_in_ball(x, radius, norm, generator)).clamp(0, 1)


def _gradient(model: Model, x_adv: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of each image's cross-entropy against y, (N, C, H, W), and the logits (N, K)."""
    x_adv = x_adv.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(x_adv)
        loss = F.cross_entropy(logits, y, reduction="sum")  # a sum keeps images independent
    (gradient,) = torch.autograd.grad(loss, x_adv)
    return gradient, logits.detach()


def _step(
    x_adv: Tensor,
    gradient: Tensor,
    x: Tensor,
    radius: Tensor,
    length: Tensor,
    norm: Norm,
    targeted: bool,
) -> Tensor:
    ascent = length * steepest(gradient, norm)
    moved = x_adv - ascent if targeted else x_adv + ascent
    return (x + project(moved - x, radius, norm)).clamp(0, 1)


def _goal_met(logits: Tensor, y: Tensor, targeted: bool) -> Tensor:
    predicted = logits.argmax(dim=1)
    return predicted == y if targeted else predicted != y
