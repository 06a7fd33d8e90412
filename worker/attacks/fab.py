"""Fast adaptive boundary attack, towards one class after the other (FAB-T).

Croce and Hein, ICML 2020, arXiv 1907.02044, by the authors' code. It looks for the nearest point
across the boundary rather than for the highest loss in the ball, so it sees other weaknesses.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from worker.attacks.norms import Budget, Norm, check_norm, length, per_image
from worker.attacks.pgd import Model, check_batch


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
) -> Tensor:
    """The nearest point across the boundary to each of the min(targets, K - 1) likeliest classes.

    Images for which a point within ε was found leave before the next class.

    Args:
        model: images in [0, 1] -> logits (N, K), in eval mode.
        x: images (N, C, H, W) in [0, 1]; the range is not checked.
        y: the true classes, (N,) int64.
        eps: radius of the ball in units of [0, 1]; a number, or (N,) for one per image.
        steps: at least 1, towards each class.
        norm: "linf", "l2" or "l1".
        targets: at least 1.
        seed: changes nothing: a single run towards each class starts at the image itself.

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
    attack = _attack(model, x.dtype, norm, steps)
    for rank in range(1, min(targets, logits.shape[1] - 1) + 1):
        left = standing.nonzero().squeeze(1)
        if len(left) == 0:
            break
        attack.target_class = rank + 1  # from the highest logit, which is the true class
        with torch.no_grad():
            found = attack.attack_single_run(best[left], y[left], is_targeted=True).to(x.dtype)
            broke = model(found).argmax(dim=1) != y[left]
        broke &= length(found - best[left], norm) <= radius[left]
        best[left[broke]] = found[broke]
        standing[left[broke]] = False
    return best


def _attack(model: Model, dtype: torch.dtype, norm: Norm, steps: int) -> Any:
    """The authors' attack, without gradients for the model's parameters."""
    from pyautoattack.fab_pt import FABAttack_PT

    class Fab(FABAttack_PT):  # type: ignore[misc]
        def get_diff_logits_grads_batch_targeted(
            self, x: Tensor, y: Tensor, target: Tensor
        ) -> tuple[Tensor, Tensor]:
            """z_t - z_y, (N, 1), and its gradient, (N, 1, C, H, W)."""
            x = x.detach().requires_grad_()
            with torch.enable_grad():
                logits = self.predict(x)
                classes = torch.stack([target, y], dim=1)
                towards, away = logits.gather(1, classes).unbind(dim=1)
                difference = towards - away
                total = difference.sum()  # a sum keeps images independent
            (gradient,) = torch.autograd.grad(total, x)
            return difference.detach().unsqueeze(1), gradient.unsqueeze(1)

    def predict(x: Tensor) -> Tensor:
        return model(x.to(dtype)).to(x.dtype)  # it works in single precision

    return Fab(predict, norm=norm.capitalize(), n_restarts=1, n_iter=steps, targeted=True)
