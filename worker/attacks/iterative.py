"""Attacks that take steps inside a budget, behind one door, and when each image breaks.

An image is broken once the model says any class but the true one, whatever the attack aims at, so
that attacks with and without a target are measured alike. Images that broke leave the batch, which
waits for the device once a step. One run answers for every smaller number of steps, too.

`PGD` takes steps along the cross-entropy's gradient (Madry et al., ICLR 2018); from the image
itself it is BIM (Kurakin et al., ICLR workshop 2017), and with a single step as long as the budget
`FGSM` (Goodfellow et al., ICLR 2015). `MI_FGSM` follows g_{t+1} = mu g_t + grad / |grad|_1, mu = 1
(Dong et al., CVPR 2018), `CW` the margin of logits (Carlini and Wagner, S&P 2017). `APGD_CE` and
`APGD_DLR` choose their own steps: see `worker.attacks.apgd`.

The model is called as it is: put it in eval mode first. Images keep their memory format.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from worker.attacks.apgd import apgd, dlr
from worker.attacks.losses import Loss, cross_entropy, margin
from worker.attacks.norms import Ball, Budget, Norm, per_image, steepest
from worker.attacks.pgd import (
    AttackObjective,
    FirstBreak,
    Model,
    Watch,
    check_steps,
    gradient_of,
    objective_of,
)
from worker.models import Outputs


class IterativeAttack(NamedTuple):
    """What is climbed, and how."""

    loss: Loss
    decay: float | None = None
    """Steps follow the gradients accumulated with this decay; None: each its own."""
    own_step_size: bool = False
    """Auto-PGD: the length of a step follows from how the loss rises. It takes no target."""


PGD = IterativeAttack(cross_entropy)
MI_FGSM = IterativeAttack(cross_entropy, decay=1.0)
CW = IterativeAttack(margin)
APGD_CE = IterativeAttack(cross_entropy, own_step_size=True)
APGD_DLR = IterativeAttack(dlr, own_step_size=True)


class Steps(NamedTuple):
    """An iterative attack, and how it moves inside its budget."""

    attack: IterativeAttack
    steps: int
    """At least 1."""
    relative_step: float
    """Length of a step as a share of the budget; Auto-PGD chooses its own."""
    random_start: bool
    """Start at the noise, not at the image."""


FGSM = Steps(PGD, steps=1, relative_step=1.0, random_start=False)


class Embedder(Protocol):
    """A classifier that shows its embedding beside its logits."""

    def outputs(self, x: Tensor) -> Outputs: ...


def iterate(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    how: Steps,
    eps: Budget,
    norm: Norm,
    noise: Tensor | None,
    target: Tensor | None = None,
    may_break: bool = True,
    known_right: bool = False,
    watch: Watch | None = None,
) -> FirstBreak:
    """The first iterate that breaks each image, and how many steps it took.

    Args:
        model: images in [0, 1] -> logits (N, K).
        x: images (N, C, H, W) in [0, 1]; the range is not checked.
        y: the true classes, (N,) int64.
        eps: radius of the ball in units of [0, 1]; a number, or (N,) for one per image.
        norm: "linf" or "l2"; Auto-PGD knows "l1" too.
        noise: a point of the unit ball for every image, (N, C, H, W): eps times it is the random
            start. A start that breaks an image counts as one step. Without a random start it is
            not looked at.
        target: the class to aim at, (N,) int64; None leaves the true class by the nearest way.
            Auto-PGD takes none.
        may_break: False takes all steps with all images and returns where they end (Auto-PGD: the
            best iterate), as pictures of an attack and attacks on another model need it: the first
            example that breaks an image has only just crossed the boundary. Whether an image was
            wrong before is not asked then.
        known_right: the model is right on all of x, and is not asked again.
        watch: is handed the iterates of all images after 0, 1, ... `steps` steps.

    Raises:
        ValueError: an argument outside these bounds, a random start without noise, or a watch
            where images may break, and leave.
    """
    if watch is not None and may_break:
        raise ValueError("iterates are watched where no image leaves: may_break=False")
    if how.random_start and noise is None:
        raise ValueError("a random start needs noise")
    if target is not None and (target.shape != y.shape or target.dtype != y.dtype):
        raise ValueError(f"target must be like y, not {target.dtype} {tuple(target.shape)}")
    attack, start = how.attack, noise if how.random_start else None
    if attack.own_step_size:
        if target is not None:
            raise ValueError("Auto-PGD leaves the true class; it takes no target")
        return apgd(
            model, x, y, eps=eps, steps=how.steps, norm=norm, loss=attack.loss, noise=start,
            may_break=may_break, known_right=known_right, watch=watch,
        )  # fmt: skip
    aim = y if target is None else target
    return projected_ascent(
        objective_of(model, attack.loss, aim, targeted=target is not None),
        model,
        x,
        y,
        eps=eps,
        step_size=how.relative_step * eps,
        steps=how.steps,
        norm=norm,
        noise=start,
        decay=attack.decay,
        may_break=may_break,
        known_right=known_right,
        watch=watch,
    )


def feature_attack(
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
    arguments and errors are those of `projected_ascent`.
    """

    def logits_of(x: Tensor) -> Tensor:
        return model.outputs(x).logits

    with torch.no_grad():
        clean = model.outputs(x).embedding  # (N, D)

    def objective(x_adv: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        seen = model.outputs(x_adv)
        return (seen.embedding - clean[rows]).square().sum(dim=1), seen.logits

    return projected_ascent(
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


def projected_ascent(
    objective: AttackObjective,
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
    may_break: bool = True,
    known_right: bool = False,
    watch: Watch | None = None,
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

    Others, and errors, are those of `iterate`.
    """
    check_steps(x, y, steps, norm, noise)
    ball, stride = Ball.around(x, eps, norm), per_image("step_size", step_size, x)
    right = torch.ones_like(y, dtype=torch.bool)
    if may_break and not known_right:
        with torch.no_grad():
            right = model(x).argmax(dim=1) == y
    best, first_break = x.clone(), torch.where(right, steps + 1, 0)
    left = right.nonzero().squeeze(1) if may_break else torch.arange(len(x), device=x.device)
    x_adv = ball.at(noise)[left]  # (M, ...): the images still under attack
    direction = torch.zeros_like(x_adv)
    for step in range(1, steps + 1):
        if len(left) == 0:
            return FirstBreak(best, first_break)
        if watch is not None:
            watch(step - 1, x_adv)
        gradient, logits = gradient_of(objective, x_adv, left)  # after step - 1 steps
        broke = logits.argmax(dim=1) != y[left]
        best[left] = x_adv
        _note(first_break, left, broke, max(step - 1, 1))
        if may_break:
            kept = (~broke).nonzero().squeeze(1)  # the only wait for the device
            left, x_adv, gradient, direction = (
                part[kept] for part in (left, x_adv, gradient, direction)
            )
        if decay is not None:
            gradient = decay * direction + _of_mean_one(gradient)
        direction = gradient
        x_adv = ball[left].project(x_adv + stride[left] * steepest(direction, norm))
    if watch is not None:
        watch(steps, x_adv)
    if len(left) > 0:
        best[left] = x_adv
        with torch.no_grad():
            _note(first_break, left, model(x_adv).argmax(dim=1) != y[left], steps)
    return FirstBreak(best, first_break)


def _note(first_break: Tensor, rows: Tensor, broke: Tensor, step: int) -> None:
    """Of the images at `rows`, (M,), those that broke, (M,) bool, did so within `step` steps."""
    before = first_break[rows]
    first_break[rows] = torch.where(broke, before.clamp(max=step), before)


def _of_mean_one(gradient: Tensor) -> Tensor:
    """Scaled to an absolute mean of 1 for each image; zero stays zero."""
    gradient = gradient.nan_to_num()
    mean = gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
    return gradient / torch.where(mean > 0, mean, 1.0)
