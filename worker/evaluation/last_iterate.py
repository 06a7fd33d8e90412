"""Where an attack of steps ends when it goes on after an image broke."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from app.contracts.params import Method
from worker.attacks import Budget, Model, Norm, Steps, objective_walk, walk
from worker.attacks.losses import cross_entropy, margin
from worker.attacks.pgd import objective_of
from worker.attacks.walks import DECAY


def last_iterate(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    how: Steps,
    eps: Budget,
    norm: Norm,
    noise: Tensor,
    target: Tensor | None,
) -> Tensor:
    """All steps of the attack on every image, (N, C, H, W).

    `walk` stops at the first example that breaks an image, which is enough to count it, but has
    only just crossed the boundary. For pictures of an attack, and for attacks on another model, all
    images take all steps. APGD is the exception: it stops as in `walk`. Arguments are those of
    `walk`.
    """
    if how.method in (Method.APGD_CE, Method.APGD_DLR):
        return walk(model, x, y, how=how, eps=eps, norm=norm, noise=noise).x_adv
    loss, aim = (
        margin if how.method == Method.CW else cross_entropy,
        y if target is None else target,
    )
    objective = objective_of(model, loss, aim, targeted=target is not None)
    unbroken = F.one_hot(y)  # what a model would say that withstands everything

    def silent(x_adv: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return objective(x_adv, rows)[0], unbroken[rows]

    return objective_walk(
        silent,
        lambda _: unbroken,
        x,
        y,
        eps=eps,
        step_size=how.relative_step * eps,
        steps=how.steps,
        norm=norm,
        noise=noise if how.random_start and how.method != Method.BIM else None,
        decay=DECAY if how.method == Method.MI_FGSM else None,
    ).x_adv
