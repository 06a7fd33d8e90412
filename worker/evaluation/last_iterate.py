"""Where an attack of steps ends when it goes on after an image broke."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from app.contracts.params import Method
from worker.attacks import Budget, Model, Norm, Steps, objective_walk
from worker.attacks.apgd import Loss, apgd
from worker.attacks.losses import cross_entropy, margin
from worker.attacks.pgd import objective_of
from worker.attacks.walks import DECAY

_APGD: Mapping[Method, Loss] = {Method.APGD_CE: "ce", Method.APGD_DLR: "dlr"}


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
    images take all steps. APGD returns its best iterate, as it always does. Arguments are those of
    `walk`.
    """
    start = noise if how.random_start and how.method not in (Method.FGSM, Method.BIM) else None
    if how.method in _APGD:
        loss_name = _APGD[Method(how.method)]
        found = apgd(
            model, x, y, eps=eps, steps=how.steps, norm=norm, loss=loss_name, noise=start,
            may_break=False,
        )  # fmt: skip
        return found.x_adv
    loss = margin if how.method == Method.CW else cross_entropy
    aim = y if target is None else target
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
        noise=start,
        decay=DECAY if how.method == Method.MI_FGSM else None,
    ).x_adv
