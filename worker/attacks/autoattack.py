"""AutoAttack, the standard version: four attacks with nothing to tune (Croce and Hein, ICML 2020).

APGD on the cross-entropy, APGD on the targeted difference of logits ratio, FAB towards classes and
Square, in this order, each on the images that those before left standing. The values of `STANDARD`
are the authors'; fewer iterations or queries must not go by this name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from worker.attacks.apgd import apgd_restarts, apgd_targeted
from worker.attacks.fab import fab_targeted
from worker.attacks.norms import Norm, check_norm, length, slack
from worker.attacks.pgd import Model
from worker.attacks.square import square

AUTOATTACK_PARTS = ("apgd_ce", "apgd_t", "fab_t", "square")


class Standard(NamedTuple):
    """What the parts do. With K classes, at most K - 1 are aimed at."""

    steps: int = 100
    """Of APGD-CE, and of APGD-T and FAB-T towards each class."""
    restarts: int = 1
    """Of APGD-CE. In L1, APGD starts in larger balls (Croce and Hein, ICML 2021)."""
    apgd_targets: int = 9
    fab_targets: int = 9
    queries: int = 5000
    """Of Square."""


STANDARD: Mapping[Norm, Standard] = {
    "linf": Standard(),
    "l2": Standard(),
    "l1": Standard(restarts=5, apgd_targets=5),
}


def autoattack(model: Model, x: Tensor, y: Tensor, *, eps: float, norm: Norm, seed: int) -> Tensor:
    """All four parts at the standard values; images that broke leave.

    Args:
        model: images in [0, 1] -> logits (N, K), in eval mode; K is at least 2.
        x: images (N, C, H, W) in [0, 1]; the range is not checked.
        y: the true classes, (N,) int64.
        eps: radius of the ball in units of [0, 1].
        norm: "linf", "l2" or "l1".
        seed: of random starts and squares; the global generators stay as they are.

    Returns:
        The broken images, (N, C, H, W); those that withstood, or were wrong before, as they were.
        An image is broken if the model, asked again, errs on it, finite, in [0, 1] and in the ball.

    Raises:
        ValueError: an argument outside these bounds.
    """
    best = x.detach().clone()
    with torch.no_grad():
        left = (model(best).argmax(dim=1) == y).nonzero().squeeze(1)  # (M,): still standing
    for name in AUTOATTACK_PARTS:
        if len(left) == 0:
            break
        clean, classes = best[left], y[left]
        x_adv = autoattack_part(name, model, clean, classes, eps=eps, norm=norm, seed=seed)
        with torch.no_grad():
            broke = (model(x_adv).argmax(dim=1) != classes) & _allowed(x_adv, clean, eps, norm)
        best[left[broke]] = x_adv[broke]
        left = left[~broke]
    return best


def autoattack_part(
    name: str,
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: Norm,
    seed: int,
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """One of `AUTOATTACK_PARTS` alone, at the standard values; (N, C, H, W).

    Square returns images that it could not break at their lowest margin, the others return them as
    they were. Arguments and errors are those of `autoattack`, `seeds` that of `apgd_targeted`.
    """
    check_norm(norm)
    if name not in AUTOATTACK_PARTS:
        raise ValueError(f"part is one of {', '.join(AUTOATTACK_PARTS)}, not {name!r}")
    values = STANDARD[norm]
    common: dict[str, Any] = {"eps": eps, "norm": norm, "seed": seed, "seeds": seeds}
    if name == "square":
        return square(model, x, y, queries=values.queries, **common).x_adv
    common["steps"] = values.steps
    if name == "apgd_ce":
        return apgd_restarts(model, x, y, restarts=values.restarts, **common)
    if name == "apgd_t":
        return apgd_targeted(model, x, y, targets=values.apgd_targets, **common)
    return fab_targeted(model, x, y, targets=values.fab_targets, **common)


def _allowed(x_adv: Tensor, x: Tensor, eps: float, norm: Norm) -> Tensor:
    """Whether images are finite, in [0, 1] and in the ball, (N,)."""
    inside = length((x_adv - x).double(), norm) <= eps + slack(eps, norm)
    in_range = ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(dim=1)  # False for NaN
    return inside & in_range
