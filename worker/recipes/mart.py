"""MART (Wang et al., ICLR 2020): misclassification-aware adversarial training."""

from __future__ import annotations

from worker.agkd_bml.objective import classification_terms, total_of
from worker.recipes.base import Batch, Networks, Objective, Parameters, Step
from worker.recipes.examples import chosen_example


def mart(networks: Networks, batch: Batch, parameters: Parameters) -> Objective:
    """L = BCE(p', y) + beta * KL(p || p') * (1 - p_y), mean over images.

    p and p' are the probabilities of x and of x_adv, which is made as in PGD-AT, and
    BCE = -log p'_y - log(1 - max over k != y of p'_k). With label smoothing the first half of BCE
    is the smoothed cross-entropy. The student sees x_adv and x as one batch, as in all recipes
    here; the authors' code shows it one after the other.

    Raises ValueError for weights without a beta.
    """
    if parameters.weights.mart_beta is None:
        raise ValueError("this recipe needs a mart_beta")
    x_adv = chosen_example(networks, batch, parameters)

    def objective() -> Step:
        adversarial, seen = networks.student_sees(x_adv, batch.x)
        terms = classification_terms(adversarial, seen, batch.y, parameters.weights)
        return Step(total_of(terms), terms, seen.logits, adversarial.logits)

    return objective
