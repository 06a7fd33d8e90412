"""PGD adversarial training (Madry et al., ICLR 2018, arXiv 1706.06083)."""

from __future__ import annotations

from torch import Tensor

from worker.agkd_bml.classification import smoothed_cross_entropy
from worker.recipes.base import Batch, Networks, Parameters, Step


def pgd_at(networks: Networks, batch: Batch, parameters: Parameters) -> Step:
    """L = CE_s(S(x_adv), y), where x_adv approaches the maximum of CE(S(.), y) in the ball.

    x_adv is untargeted PGD from a random start, on S in eval mode.
    """
    x_adv = untargeted_example(networks, batch, parameters)
    (seen,) = networks.student_sees(x_adv)
    loss = smoothed_cross_entropy(seen.logits, batch.y, smoothing=parameters.weights.smoothing)
    return Step(loss, {"classification": loss}, None, seen.logits)


def untargeted_example(networks: Networks, batch: Batch, parameters: Parameters) -> Tensor:
    """Images that raise the cross-entropy of their own class, (N, 3, H, W) in [0, 1]."""
    return parameters.attack.example(
        networks.attacked(), batch.x, batch.y, targeted=False, generator=batch.generator
    )
