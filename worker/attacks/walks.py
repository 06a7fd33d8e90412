"""Every attack that takes steps inside a budget, behind one door, and when each image breaks.

An image is broken once the model says any class but the true one, whatever the attack aims at, so
that attacks with and without a target are measured alike. Images that broke leave the batch, which
waits for the device once a step. One run answers for every smaller number of steps, too.

Method, its loss and its start (u: unit step of steepest ascent, P: projection onto ball and box):

    fgsm      cross-entropy, one step as long as the budget      Goodfellow et al., ICLR 2015
    bim       cross-entropy, from the image itself               Kurakin et al., ICLR workshop 2017
    pgd       cross-entropy, from a random point                 Madry et al., ICLR 2018
    mi_fgsm   cross-entropy, g_{t+1} = mu g_t + grad / |grad|_1  Dong et al., CVPR 2018, mu = 1
    cw        margin of logits                                   Carlini and Wagner, S&P 2017
    apgd_ce, apgd_dlr                                            see `worker.attacks.apgd`

The model is called as it is: put it in eval mode first. Images keep their memory format.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from worker.attacks.apgd import apgd
from worker.attacks.losses import cross_entropy, margin
from worker.attacks.norms import Ball, Budget, Norm, per_image, steepest
from worker.attacks.pgd import (
    FirstBreak,
    Model,
    Objective,
    check_steps,
    gradient_of,
    objective_of,
)
from worker.models import Outputs

DECAY = 1.0
"""mu, of the accumulated gradient of MI-FGSM."""

_LOSSES = {
    "fgsm": cross_entropy,
    "bim": cross_entropy,
    "pgd": cross_entropy,
    "mi_fgsm": cross_entropy,
    "cw": margin,
}
_APGD_LOSSES: dict[str, Literal["ce", "dlr"]] = {"apgd_ce": "ce", "apgd_dlr": "dlr"}
_FROM_THE_IMAGE = ("fgsm", "bim")


class Steps(NamedTuple):
    """How an attack moves inside its budget."""

    method: str
    """fgsm, bim, pgd, mi_fgsm, cw, apgd_ce or apgd_dlr."""
    steps: int
    """At least 1; FGSM takes 1."""
    relative_step: float
    """Length of a step as a share of the budget; FGSM takes 1, APGD chooses its own."""
    random_start: bool
    """Start at the noise; FGSM and BIM start at the image all the same."""


class Embedder(Protocol):
    """A classifier that shows its embedding beside its logits."""

    def outputs(self, x: Tensor) -> Outputs: ...


def walk(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    how: Steps,
    eps: Budget,
    norm: Norm,
    noise: Tensor | None,
    target: Tensor | None = None,
) -> FirstBreak:
    """The first iterate that breaks each image, and how many steps it took.

    Args:
        model: images in [0, 1] -> logits (N, K).
        x: images (N, C, H, W) in [0, 1]; the range is not checked.
        y: the true classes, (N,) int64.
        eps: radius of the ball in units of [0, 1]; a number, or (N,) for one per image.
        norm: "linf" or "l2"; APGD knows "l1" too.
        noise: a point of the unit ball for every image, (N, C, H, W): eps times it is the random
            start. A start that breaks an image counts as one step.
        target: the class to aim at, (N,) int64; None leaves the true class by the nearest way.
            APGD takes none.

    Raises:
        ValueError: an argument outside these bounds, or a random start without noise.
    """
    if how.method in _FROM_THE_IMAGE or not how.random_start:
        noise = None
    elif noise is None:
        raise ValueError("a random start needs noise")
    if how.method in _APGD_LOSSES:
        if target is not None:
            raise ValueError(f"{how.method} leaves the true class; it takes no target")
        loss = _APGD_LOSSES[how.method]
        return apgd(model, x, y, eps=eps, steps=how.steps, norm=norm, loss=loss, noise=noise)
    _check_walk(how, y, target)
    relative_step = 1.0 if how.method == "fgsm" else how.relative_step
    aim = y if target is None else target
    return objective_walk(
        objective_of(model, _LOSSES[how.method], aim, targeted=target is not None),
        model,
        x,
        y,
        eps=eps,
        step_size=relative_step * eps,
        steps=how.steps,
        norm=norm,
        noise=noise,
        decay=DECAY if how.method == "mi_fgsm" else None,
    )


def feature_walk(
    model: Embedder,
    x: Tensor,
    y: Tensor,
    *,
    eps: Budget,
    step_size: Budget,
    steps: int,
    norm: Norm,
    noise: Tensor,
) -> FirstBreak:
    """PGD on |e(x') - e(x)|_2^2: drives the embedding away from that of the clean image.

    It needs the noise to start with, since the distance has no gradient at the image itself. Other
    arguments and errors are those of `objective_walk`.
    """

    def logits_of(x: Tensor) -> Tensor:
        return model.outputs(x).logits

    with torch.no_grad():
        clean = model.outputs(x).embedding  # (N, D)

    def objective(x_adv: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        seen = model.outputs(x_adv)
        return (seen.embedding - clean[rows]).square().sum(dim=1), seen.logits

    return objective_walk(
        objective,
        logits_of,
        x,
        y,
        eps=eps,
        step_size=step_size,
        steps=steps,
        norm=norm,
        noise=noise,
    )


def objective_walk(
    objective: Objective,
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: Budget,
    step_size: Budget,
    steps: int,
    norm: Norm,
    noise: Tensor | None,
    decay: float | None = None,
) -> FirstBreak:
    """Projected gradient ascent on any objective; an image is done once the model misclassifies it.

    Args:
        objective: what is climbed. It gets the images still under attack, (M, C, H, W), with their
            places in the batch, (M,), and returns values (M,) and the model's logits (M, K).
        model: images in [0, 1] -> logits (N, K); sees the clean images and the last iterates.
        step_size: length of a step in the norm; a number, or (N,) for one per image.
        norm: "linf" or "l2".
        noise: the start as a point of the unit ball, (N, C, H, W); None starts at x.
        decay: steps follow the gradients accumulated with this decay, each of L1 mean 1.

    Others, and errors, are those of `walk`.
    """
    check_steps(x, y, steps, norm, noise)
    ball, stride = Ball.around(x, eps, norm), per_image("step_size", step_size, x)
    with torch.no_grad():
        standing = model(x).argmax(dim=1) == y
    best, first_break = x.clone(), torch.where(standing, steps + 1, 0)
    left = standing.nonzero().squeeze(1)  # (M,): the images still under attack
    x_adv = ball.at(noise)[left]
    direction = torch.zeros_like(x_adv)
    for step in range(1, steps + 1):
        if len(left) == 0:
            return FirstBreak(best, first_break)
        gradient, logits = gradient_of(objective, x_adv, left)  # after step - 1 steps
        standing = logits.argmax(dim=1) == y[left]
        best[left] = x_adv
        first_break[left] = torch.where(standing, steps + 1, max(step - 1, 1))
        kept = standing.nonzero().squeeze(1)  # the only wait for the device
        left, x_adv, gradient = left[kept], x_adv[kept], gradient[kept]  # (M, ...)
        if decay is not None:
            gradient = decay * direction[kept] + _of_mean_one(gradient)
        direction = gradient
        x_adv = ball[left].project(x_adv + stride[left] * steepest(direction, norm))
    if len(left) > 0:
        best[left] = x_adv
        with torch.no_grad():
            standing = model(x_adv).argmax(dim=1) == y[left]
        first_break[left] = torch.where(standing, steps + 1, steps)
    return FirstBreak(best, first_break)


def _of_mean_one(gradient: Tensor) -> Tensor:
    """Scaled to an absolute mean of 1 for each image; zero stays zero."""
    gradient = gradient.nan_to_num()
    mean = gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
    return gradient / torch.where(mean > 0, mean, 1.0)


def _check_walk(how: Steps, y: Tensor, target: Tensor | None) -> None:
    if how.method not in _LOSSES:
        known = ", ".join((*_LOSSES, *_APGD_LOSSES))
        raise ValueError(f"method is one of {known}, not {how.method!r}")
    if how.method == "fgsm" and how.steps != 1:
        raise ValueError(f"fgsm takes 1 step, not {how.steps}")
    if target is not None and (target.shape != y.shape or target.dtype != y.dtype):
        raise ValueError(f"target must be like y, not {target.dtype} {tuple(target.shape)}")
