"""Fast gradient sign method (Goodfellow et al., ICLR 2015, arXiv 1412.6572), Linf and L2."""

from __future__ import annotations

from torch import Tensor

from worker.attacks.norms import Budget, Norm
from worker.attacks.pgd import Model, pgd


def fgsm(model: Model, x: Tensor, y: Tensor, *, eps: Budget, norm: Norm, targeted: bool) -> Tensor:
    """x + eps * sign(grad L), kept in [0, 1]: one step of PGD as long as the budget, from x itself.

    Arguments, shapes and errors are those of `pgd`.
    """
    return pgd(
        model,
        x,
        y,
        eps=eps,
        step_size=eps,
        steps=1,
        norm=norm,
        targeted=targeted,
        random_start=False,
        generator=None,
    )
