"""RSLAD (Zi et al., ICCV 2021, arXiv 2108.07969): a robust teacher's predictions in place of all
labels."""

from __future__ import annotations

from worker.recipes.base import Batch, Networks, Objective, Parameters, Step
from worker.recipes.trades import divergence, furthest_from

ALPHA = 5 / 6
"""Share of the adversarial term; the authors' value."""


def rslad(networks: Networks, batch: Batch, parameters: Parameters) -> Objective:
    """L = alpha * KL(T(x) || S(x_adv)) + (1 - alpha) * KL(T(x) || S(x)), mean over images.

    x_adv approaches the maximum of KL(T(x) || S(.)) in the ball, S in eval mode, from x plus a
    little normal noise. T(x) are the teacher's predictions on the clean image, for both terms and
    for the attack: no label takes part. The student sees x_adv and x as one batch, as in all
    recipes here; the authors' code shows it one after the other, and takes its mean over the
    classes, too, which only scales the loss.
    """
    taught = networks.teacher_sees(batch.x)[0].logits
    x_adv = furthest_from(taught, networks.attacked(), batch, parameters.attack)

    def objective() -> Step:
        adversarial, seen = networks.student_sees(x_adv, batch.x)
        robust = divergence(taught, adversarial.logits).mean()
        natural = divergence(taught, seen.logits).mean()
        terms = {"distillation_robust": robust, "distillation_clean": natural}
        return Step(ALPHA * robust + (1 - ALPHA) * natural, terms, seen.logits, adversarial.logits)

    return objective
