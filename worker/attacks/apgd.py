"""Auto-PGD, untargeted and towards each likely wrong class (Croce and Hein, ICML 2020 and 2021).

The steps themselves are in `worker.attacks.ascent`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from worker.attacks.ascent import LogitObjective, Problem, ascend, ascend_from_afar
from worker.attacks.draws import Draws, normal, uniform
from worker.attacks.losses import Loss, cross_entropy, margin
from worker.attacks.norms import Ball, Budget, Norm, check_norm, length
from worker.attacks.pgd import FirstBreak, Model, Watch, check_batch

TINY = 1e-12


def apgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: Budget,
    steps: int,
    norm: Norm,
    loss: Loss,
    noise: Tensor | None,
    may_break: bool = True,
    known_right: bool = False,
    watch: Watch | None = None,
) -> FirstBreak:
    """Untargeted Auto-PGD, and the step at which each image first broke.

    Args:
        model: images in [0, 1] -> logits (N, K), in eval mode.
        x: images (N, C, H, W) in [0, 1]; the range is not checked.
        y: the true classes, (N,) int64.
        eps: radius of the ball in units of [0, 1]; a number, or (N,) for one per image.
        steps: at least 1. The checkpoints of the step size depend on it.
        norm: "linf", "l2" or "l1".
        loss: what is climbed: `cross_entropy`, or `dlr`, the difference of logits ratio.
        noise: a point of the unit ball for every image, (N, C, H, W), or None to start at x. In
            Linf and L2 the authors start on the surface of the ball, so noise is scaled to norm 1
            first; in L1 it is taken as it is. The start is x + ε noise, kept in [0, 1].
        may_break: False takes all steps with all images, whatever the model says of them.
        known_right: the model is right on all of x, and is not asked again.
        watch: is handed the images under attack after 0, 1, ... `steps` steps.

    Returns:
        Images that broke as they first did, the others at their highest loss. A start that breaks
        an image counts as one step. With `may_break` False, all are at their highest loss.

    Raises:
        ValueError: an argument outside these bounds.
    """
    check(x, y, steps, norm)
    if noise is not None and noise.shape != x.shape:
        raise ValueError(f"noise must be like x, {tuple(x.shape)}, not {tuple(noise.shape)}")
    ball = Ball.around(x, eps, norm)
    problem = Problem(model, ball, y, _away_from(y, loss))
    if may_break and not known_right:
        standing = _logits(model, x).argmax(dim=1) == y
    else:
        standing = torch.ones_like(y, dtype=torch.bool)
    start = ball.at(_on_surface(noise, norm))
    return ascend(problem, start, standing, steps, may_break=may_break, watch=watch)


def apgd_targeted(
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
    """Auto-PGD towards each of the min(targets, K - 1) most likely wrong classes, in turn.

    Every run takes all the steps, from a random start of its own, on the images that no run before
    it broke; whichever wrong class breaks them counts. The objective is the targeted difference of
    logits ratio, which needs 4 classes: with 2 or 3, the difference of the two logits takes its
    place. In L1 every run comes from larger balls (see `ascend_from_afar`), as in AutoAttack.
    Other arguments and errors are those of `apgd`.

    Args:
        seed: of the starts; the global generators stay as they are.
        seeds: one for each image, so that its draws are its own in any batch; None: they are the
            batch's as a whole.

    Returns:
        The broken images, (N, C, H, W); those that withstood, or were wrong before, as they were.
    """
    check(x, y, steps, norm)
    if targets < 1:
        raise ValueError(f"targets must be at least 1, not {targets}")
    logits = _logits(model, x)
    classes, standing = most_likely_wrong(logits, y, targets), logits.argmax(dim=1) == y
    return apgd_towards(
        model, x, y, classes, standing, eps=eps, steps=steps, norm=norm, draws=Draws(seed, seeds)
    )


def apgd_towards(
    model: Model,
    x: Tensor,
    y: Tensor,
    classes: Tensor,
    standing: Tensor,
    *,
    eps: Budget,
    steps: int,
    norm: Norm,
    draws: Draws,
) -> Tensor:
    """The same towards given classes, (N, T) int64, for the images that stand, (N,) bool."""
    objectives = [_targeted_ratio(y, target) for target in classes.unbind(dim=1)]
    return _in_turn(model, x, y, objectives, standing, eps, steps, norm, draws)


def apgd_restarts(
    model: Model, x: Tensor, y: Tensor, *, eps: Budget, steps: int, norm: Norm, restarts: int,
    seed: int, seeds: Sequence[int] | None = None,
) -> Tensor:  # fmt: skip
    """Auto-PGD on the cross-entropy from `restarts` random starts in turn; broken images leave.

    In L1 every run comes from larger balls, as in AutoAttack. Other arguments, errors and the
    result are those of `apgd_targeted`.
    """
    check(x, y, steps, norm)
    if restarts < 1:
        raise ValueError(f"restarts must be at least 1, not {restarts}")
    standing = _logits(model, x).argmax(dim=1) == y
    objectives = [_away_from(y, cross_entropy)] * restarts
    return _in_turn(model, x, y, objectives, standing, eps, steps, norm, Draws(seed, seeds))


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """-(z_y - max_{c ≠ y} z_c) / (z_π1 - z_π3), π the falling order; (N, K), (N,) -> (N,).

    2003.01690, equation 6. With 2 classes, where there is no third, the numerator alone.
    """
    if logits.shape[1] < 3:
        return margin(logits, y)
    falling = logits.sort(dim=1, descending=True).values
    return margin(logits, y) / (falling[:, 0] - falling[:, 2] + TINY)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """-(z_y - z_t) / (z_π1 - (z_π3 + z_π4) / 2), t the class to reach; (N, K) -> (N,).

    2003.01690, equation 7. With 2 or 3 classes, where there is no fourth, the numerator alone.
    """
    difference = _at(logits, target) - _at(logits, y)
    if logits.shape[1] < 4:
        return difference
    falling = logits.sort(dim=1, descending=True).values
    return difference / (falling[:, 0] - (falling[:, 2] + falling[:, 3]) / 2 + TINY)


def most_likely_wrong(logits: Tensor, y: Tensor, count: int) -> Tensor:
    """The min(count, K - 1) highest classes without y, the highest first; (N, K) -> (N, count)."""
    others = logits.scatter(1, y.unsqueeze(1), -torch.inf)
    return others.topk(min(count, logits.shape[1] - 1), dim=1).indices


def _in_turn(
    model: Model,
    x: Tensor,
    y: Tensor,
    objectives: list[LogitObjective],
    standing: Tensor,
    eps: Budget,
    steps: int,
    norm: Norm,
    draws: Draws,
) -> Tensor:
    """One run per objective, each on the images that stand after those before it."""
    ball = Ball.around(x, eps, norm)
    best = ball.x.clone()
    for objective in objectives:
        problem = Problem(model, ball, y, objective)
        # For all images, so that a start does not depend on which others still stand.
        noise = _noise(x, norm, draws)
        if norm == "l1":
            found = ascend_from_afar(problem, noise, standing, steps)
        else:
            found = ascend(problem, ball.at(_on_surface(noise, norm)), standing, steps)
        broke = standing & (found.first_break <= steps)
        best[broke] = found.x_adv[broke]
        standing = standing & ~broke
    return best


def _noise(x: Tensor, norm: Norm, draws: Draws) -> Tensor:
    """Uniform in [-1, 1] for Linf, else normal; (N, C, H, W) on x's device."""
    return 2 * draws.each(x, uniform) - 1 if norm == "linf" else draws.each(x, normal)


def _on_surface(noise: Tensor | None, norm: Norm) -> Tensor | None:
    """The point of the unit ball to start at, (N, C, H, W): see `noise` of `apgd`."""
    if noise is None or norm == "l1":
        return noise
    return noise / (length(noise, norm).view(-1, 1, 1, 1) + TINY)


def _away_from(y: Tensor, loss: Loss) -> LogitObjective:
    return lambda logits, rows: loss(logits, y[rows])


def _targeted_ratio(y: Tensor, target: Tensor) -> LogitObjective:
    return lambda logits, rows: targeted_dlr(logits, y[rows], target[rows])


def _at(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes.unsqueeze(1)).squeeze(1)  # (N, K), (N,) -> (N,)


def _logits(model: Model, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)


def check(x: Tensor, y: Tensor, steps: int, norm: str) -> None:
    """Raises ValueError for what Auto-PGD cannot use."""
    check_batch(x, y)
    check_norm(norm)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
