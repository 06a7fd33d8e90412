"""Projected gradient descent (Madry et al., ICLR 2018, arXiv 1706.06083).

With L the cross-entropy, u the unit step of steepest ascent in the norm, P the projection onto the
ball of radius eps around x and onto [0, 1]:

    untargeted   x_{t+1} = P(x_t + step_size * u(grad L(model(x_t), y)))     y: the true class
    targeted     x_{t+1} = P(x_t - step_size * u(grad L(model(x_t), y)))     y: the class to reach

The model is called as it is: put it in eval mode first, or its batch norms see the attack. Only
the gradient for the images is computed, none for parameters. Images keep their memory format.

This form takes all steps with all images and never waits for the device, as training needs it.
To measure, take `worker.attacks.iterative`: the same iterates, and images that broke leave.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from worker.attacks.losses import Loss, cross_entropy
from worker.attacks.norms import (
    Ball,
    Budget,
    Norm,
    check_norm,
    per_image,
    steepest,
    uniform_in_ball,
)

Model = Callable[[Tensor], Tensor]
"""Images (N, C, H, W) in [0, 1] -> logits (N, K)."""

AttackObjective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Images (M, C, H, W) and their places in the batch, (M,) int64 -> values to climb (M,), each one
of its own image alone, and the logits (M, K) of the same pass."""

Watch = Callable[[int, Tensor], None]
"""Is told how many steps were taken, and where they led, (N, C, H, W), which it must not change."""


class FirstBreak(NamedTuple):
    """When an attack first broke each image."""

    x_adv: Tensor
    """(N, C, H, W): the first iterate that broke the image, else the last iterate."""
    first_break: Tensor
    """(N,) int64: 0 where the clean image is misclassified already, s where s steps were needed,
    steps + 1 where none broke it. Accuracy after s steps: (first_break > s).mean()."""


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
    check_steps(x, y, steps, norm, noise)
    ball, step_size = Ball.around(x, eps, norm), per_image("step_size", step_size, x)
    if random_start and noise is None:
        if generator is None:
            raise ValueError("a random start needs a generator or noise")
        noise = uniform_in_ball(x, torch.ones_like(ball.radius), norm, generator)
    objective = objective_of(model, cross_entropy, y, targeted)
    return climb(objective, ball.at(noise if random_start else None), ball, step_size, steps)


def climb(
    objective: AttackObjective, start: Tensor, ball: Ball, step_size: Tensor, steps: int
) -> Tensor:
    """The last iterate of x_{t+1} = P(x_t + step_size * u(grad objective(x_t))), (N, C, H, W).

    `start`: (N, C, H, W); `step_size`: one for each image, (N, 1, 1, 1).
    """
    x_adv, every = start, torch.arange(len(start), device=start.device)
    for _ in range(steps):
        gradient, _ = gradient_of(objective, x_adv, every)
        x_adv = ball.project(x_adv + step_size * steepest(gradient, ball.norm))
    return x_adv


def objective_of(model: Model, loss: Loss, classes: Tensor, targeted: bool) -> AttackObjective:
    """Away from `classes` (N,), or towards them if targeted."""

    def objective(x_adv: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(x_adv)
        values = loss(logits, classes[rows])
        return (-values if targeted else values), logits

    return objective


def gradient_of(objective: AttackObjective, x_adv: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of each image's value, (M, C, H, W), and the logits (M, K)."""
    x_adv = x_adv.detach().requires_grad_()
    with torch.enable_grad():
        values, logits = objective(x_adv, rows)
        total = values.sum()  # a sum keeps images independent
    (gradient,) = torch.autograd.grad(total, x_adv)
    return gradient, logits.detach()


def check_steps(x: Tensor, y: Tensor, steps: int, norm: Norm, noise: Tensor | None) -> None:
    """Raises ValueError for what no attack of gradient steps can use."""
    check_batch(x, y)
    check_norm(norm, among=("linf", "l2"))
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if noise is not None and noise.shape != x.shape:
        raise ValueError(f"noise must be like x, {tuple(x.shape)}, not {tuple(noise.shape)}")


def check_batch(x: Tensor, y: Tensor) -> None:
    """Raises ValueError unless x are float images (N, C, H, W) and y their classes (N,)."""
    if x.dim() != 4 or not x.is_floating_point():
        raise ValueError(f"x must be float images (N, C, H, W), not {x.dtype} {tuple(x.shape)}")
    if y.shape != (len(x),) or y.dtype != torch.int64:
        raise ValueError(f"y must be int64 ({len(x)},), not {y.dtype} {tuple(y.shape)}")
