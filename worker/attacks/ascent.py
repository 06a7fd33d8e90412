"""The loop of Auto-PGD: projected gradient ascent that sets its own step size, image by image.

Linf and L2 (Croce and Hein, ICML 2020, arXiv 2003.01690, algorithm 1). With f the objective, u the
unit step of steepest ascent, P the projection onto ball and box, α = 0.75 (1 in the first step):

    z_t     = P(x_t + η u(grad f(x_t)))
    x_{t+1} = P(x_t + α (z_t - x_t) + (1 - α) (x_t - x_{t-1}))

η starts at 2 ε. At checkpoints it is halved for the images whose objective rose in at most 75 % of
the steps since the last one, or whose best did not improve since a checkpoint that left η as it
was; these go on from their best point.

L1 (Croce and Hein, ICML 2021, arXiv 2103.01208, algorithm 1): no momentum; steps along the signs
of the gradient's largest entries, as many as the best point is sparse. η starts at ε; at
checkpoints it returns to ε where the best point became sparser, else it shrinks by 1.5.

Given the same start, the iterates are those of the authors' code, in L1 up to entries that only
rounding changes; images that broke leave.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import repeat

import torch
from torch import Tensor

from worker.attacks.norms import Ball, Norm, broadcast, steepest
from worker.attacks.pgd import FirstBreak, Model, Watch

LogitObjective = Callable[[Tensor, Tensor], Tensor]
"""Logits (M, K) and the images they belong to, indices (M,) of the batch -> values (M,)."""

MOMENTUM = 0.75
ENOUGH_RISES = 0.75
SPARSER, SHRINK, LEAST_STEP = 0.95, 1.5, 0.1
DENSE_SHARE = 0.2


@dataclass(frozen=True)
class Problem:
    """What is to be broken: images of the true classes y (N,) in their balls, and how to see it."""

    model: Model
    ball: Ball
    y: Tensor
    objective: LogitObjective


@dataclass
class _State:
    """The images under attack: one row an image, (M, ...), in every field."""

    rows: Tensor
    """Which images of the batch, (M,)."""
    ball: Ball
    step_size: Tensor
    """(M, 1, 1, 1)"""
    x_adv: Tensor
    previous: Tensor
    gradient: Tensor
    value: Tensor
    """The objective at x_adv, (M,)."""
    best: Tensor
    best_gradient: Tensor
    best_value: Tensor
    rises: Tensor
    """Steps since the last checkpoint in which the objective rose, (M,)."""
    best_at_check: Tensor
    halved: Tensor
    """Whether the last checkpoint halved the step, (M,)."""
    share: Tensor
    """L1: the share of all entries that a step changes, (M,)."""
    density: Tensor
    """L1: how many entries of the best point differed from x at the last checkpoint, (M,)."""

    def keep(self, mask: Tensor) -> None:
        """Let go of the other images."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[mask])


def ascend(
    problem: Problem,
    start: Tensor,
    standing: Tensor,
    steps: int,
    *,
    may_break: bool = True,
    sparse_start: bool = False,
    watch: Watch | None = None,
) -> FirstBreak:
    """Ascend from `start`, (N, C, H, W), for the images that stand, (N,).

    Args:
        may_break: False keeps broken images in, for a ball larger than the budget.
        sparse_start: in L1, the first steps change as many entries as the start is sparse.
        watch: is handed the images under attack after 0, 1, ... `steps` steps.

    Returns:
        Images that broke as they first did, other standing ones at their highest objective, the
        rest as they were. A start that breaks an image counts as one step.
    """
    result = problem.ball.x.clone()
    first_break = torch.where(standing, steps + 1, 0)
    state = _begin(problem, standing.nonzero().squeeze(1), start, sparse_start)
    windows, since = _windows(steps, problem.ball.norm), 0
    window = next(windows)
    for step in range(steps + 1):
        if len(state.rows) == 0:
            break
        if step > 0:
            _move(state, MOMENTUM if step > 1 else 1.0)
        if watch is not None:
            watch(step, state.x_adv)
        logits, value = _look(problem, state, with_gradient=step < steps)
        if may_break:
            broke = logits.argmax(dim=1) != problem.y[state.rows]
            result[state.rows[broke]] = state.x_adv[broke]
            first_break[state.rows[broke]] = max(step, 1)
            if broke.any():
                state.keep(~broke)
                value = value[~broke]
        _remember(state, value, first=step == 0)
        since += step > 0
        if since == window:
            _adapt(state, window)
            window, since = next(windows), 0
    result[state.rows] = state.best
    return FirstBreak(result, first_break)


def ascend_from_afar(problem: Problem, noise: Tensor, standing: Tensor, steps: int) -> FirstBreak:
    """L1 from larger balls: 30 % of the steps in 3 ε, 30 % in 2 ε, the rest in ε (2103.01208, 4).

    Each part starts at the best point of the one before; only the last breaks images. The start is
    `noise`, normal variables (N, C, H, W), projected onto the largest ball. Other arguments and
    the result are those of `ascend`.
    """
    ball = problem.ball
    part = min(math.ceil(0.3 * steps), (steps - 1) // 2)
    x_adv = ball.x + noise
    for scale in (3, 2) if part > 0 else ():
        larger = replace(ball, radius=scale * ball.radius)
        x_adv = ball.x + project_in_box(x_adv - ball.x, larger)
        x_adv = ascend(
            replace(problem, ball=larger), x_adv, standing, part, may_break=False, sparse_start=True
        ).x_adv
    x_adv = ball.x + project_in_box(x_adv - ball.x, ball)
    found = ascend(problem, x_adv, standing, steps - 2 * part, sparse_start=True)
    return FirstBreak(found.x_adv, torch.where(standing, found.first_break + 2 * part, 0))


def project_in_box(delta: Tensor, ball: Ball) -> Tensor:
    """The perturbation nearest to delta with |.|_1 <= ε and x + . in [0, 1], (N, C, H, W).

    It is sign(δ_i) clip(|δ_i| - λ, 0, room_i), room_i what the box leaves in that direction, for
    the least λ >= 0 that fits (2103.01208, proposition 2.1). The sum of sizes falls linearly in λ
    between the kinks |δ_i| - room_i and |δ_i|, so λ is read off the sorted kinks. In double
    precision and a hair inside, so that rounding does not leave the ball.
    """
    size = delta.abs().flatten(1).double()  # (N, D)
    room = torch.where(delta > 0, 1 - ball.x, ball.x).flatten(1).double()
    limit = ball.radius.flatten(1).double() * (1 - 1e-6)  # (N, 1)
    kinks, order = torch.cat([size - room, size], dim=1).clamp(min=0).sort(dim=1)  # (N, 2 D)
    shrinking = torch.where(order < size.shape[1], 1, -1).cumsum(dim=1)  # entries after each kink
    falls = torch.zeros_like(kinks)
    falls[:, 1:] = (shrinking[:, :-1] * kinks.diff(dim=1)).cumsum(dim=1)
    excess = torch.minimum(size, room).sum(dim=1, keepdim=True) - falls - limit
    last = ((excess >= 0).sum(dim=1, keepdim=True) - 1).clamp(min=0)
    beyond = excess.gather(1, last) / shrinking.gather(1, last).clamp(min=1)
    threshold = torch.where(excess[:, :1] > 0, kinks.gather(1, last) + beyond, 0.0)
    kept = torch.minimum((size - threshold).clamp(min=0), room)
    return delta.sign() * kept.to(delta.dtype).view(delta.shape)


def _begin(problem: Problem, rows: Tensor, start: Tensor, sparse_start: bool) -> _State:
    ball, x_adv = problem.ball[rows], start[rows].clamp(0, 1)
    none, size = ball.radius.flatten(), math.prod(ball.x.shape[1:])
    density = _changed(x_adv, ball.x) if sparse_start else torch.full_like(none, size)
    return _State(
        rows=rows,
        ball=ball,
        step_size=ball.radius if ball.norm == "l1" else 2 * ball.radius,
        x_adv=x_adv,
        previous=x_adv,
        gradient=torch.zeros_like(x_adv),
        value=none,
        best=x_adv,
        best_gradient=torch.zeros_like(x_adv),
        best_value=none,
        rises=torch.zeros_like(rows),
        best_at_check=none,
        halved=torch.ones_like(rows, dtype=torch.bool),
        share=density / size / SHRINK if sparse_start else torch.full_like(none, DENSE_SHARE),
        density=density,
    )


def _windows(steps: int, norm: Norm) -> Iterator[int]:
    """How many steps lie between one checkpoint and the next."""
    if norm == "l1":
        yield from repeat(max(int(0.04 * steps), 1))
    window = max(int(0.22 * steps), 1)
    while True:
        yield window
        window = max(window - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))


def _look(problem: Problem, state: _State, *, with_gradient: bool) -> tuple[Tensor, Tensor]:
    """Logits (M, K) and objective (M,) at x_adv; leaves the gradient, if wanted, in the state."""
    x_adv = state.x_adv.detach().requires_grad_(with_gradient)
    with torch.set_grad_enabled(with_gradient):
        logits = problem.model(x_adv)
        value = problem.objective(logits, state.rows)
        total = value.sum()  # a sum keeps images independent
    if with_gradient:
        (state.gradient,) = torch.autograd.grad(total, x_adv)
    return logits.detach(), value.detach()


def _move(state: _State, momentum: float) -> None:
    """One step of every image."""
    if state.ball.norm == "l1":
        moved = _sparse_step(state)
    else:
        ascent = state.step_size * steepest(state.gradient, state.ball.norm)
        z = state.ball.project(state.x_adv + ascent)
        inertia = (1 - momentum) * (state.x_adv - state.previous)
        moved = state.ball.project(state.x_adv + momentum * (z - state.x_adv) + inertia)
    state.x_adv, state.previous = moved, state.x_adv


def _sparse_step(state: _State) -> Tensor:
    """η sign(g) / (number of entries), on the entries of largest gradient alone; (M, C, H, W)."""
    sizes = state.gradient.abs().flatten(1)  # (M, D)
    rank = ((1 - state.share) * sizes.shape[1]).clamp(0, sizes.shape[1] - 1).long()
    least = sizes.sort(dim=1).values.gather(1, rank.unsqueeze(1))
    signs = (state.gradient.sign().flatten(1) * (sizes >= least)).view(state.x_adv.shape)
    count = signs.abs().sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)
    delta = state.x_adv + state.step_size * signs / count - state.ball.x
    return state.ball.x + project_in_box(delta, state.ball)


def _remember(state: _State, value: Tensor, *, first: bool) -> None:
    """Keep the best point, and count the steps in which the objective rose."""
    if first:
        state.best_gradient, state.best_value, state.best_at_check = state.gradient, value, value
        # The authors' code compares the first step with 0, not with the start.
        state.value = torch.zeros_like(value)
        return
    state.rises = state.rises + (value > state.value)
    better = value > state.best_value
    state.best = torch.where(broadcast(better), state.x_adv, state.best)
    state.best_gradient = torch.where(broadcast(better), state.gradient, state.best_gradient)
    state.best_value = torch.where(better, value, state.best_value)
    state.value = value


def _adapt(state: _State, window: int) -> None:
    """A checkpoint: choose the size of the next steps, and who goes back to the best point."""
    if state.ball.norm == "l1":
        density, radius = _changed(state.best, state.ball.x), state.ball.radius
        back = density / state.density < SPARSER
        shrunk = torch.maximum(state.step_size / SHRINK, LEAST_STEP * radius)
        state.step_size = torch.where(broadcast(back), radius, shrunk)
        state.share, state.density = density / math.prod(state.best.shape[1:]) / SHRINK, density
    else:
        stuck = ~state.halved & (state.best_at_check >= state.best_value)
        back = (state.rises <= ENOUGH_RISES * window) | stuck
        state.step_size = torch.where(broadcast(back), state.step_size / 2, state.step_size)
        state.halved, state.best_at_check = back, state.best_value
        state.rises = torch.zeros_like(state.rises)
    state.x_adv = torch.where(broadcast(back), state.best, state.x_adv)
    state.gradient = torch.where(broadcast(back), state.best_gradient, state.gradient)


def _changed(x_adv: Tensor, x: Tensor) -> Tensor:
    """How many entries of each image differ, (M,), in the images' own precision."""
    return (x_adv != x).flatten(1).sum(dim=1).to(x.dtype)
