"""PGD adversarial training (Madry et al., ICLR 2018, arXiv 1706.06083)."""

from __future__ import annotations

from worker.agkd_bml.classification import smoothed_cross_entropy
from worker.recipes.base import Batch, Networks, Objective, Parameters, Step
from worker.recipes.examples import chosen_example


def pgd_at(networks: Networks, batch: Batch, parameters: Parameters) -> Objective:
    """L = CE_s(S(x_adv), y), where x_adv approaches the maximum of CE(S(.), y) in the ball.

    x_adv is untargeted PGD from a random start, on S in eval mode; or, where that is asked for,
    the forward example of Wang et al., ICCV 2021, towards the most confusing class.
    """
    x_adv = chosen_example(networks, batch, parameters)

    def objective() -> Step:
        (seen,) = networks.student_sees(x_adv)
        loss = smoothed_cross_entropy(seen.logits, batch.y, smoothing=parameters.weights.smoothing)
        return Step(loss, {"classification": loss}, None, seen.logits)

    return objective
