"""MART (Wang et al., ICLR 2020): misclassification-aware adversarial training."""

from __future__ import annotations

from worker.agkd_bml.classification import mart_term, smoothed_cross_entropy
from worker.recipes.base import Batch, Knobs, Networks, Step
from worker.recipes.pgd_at import untargeted_example


def mart(networks: Networks, batch: Batch, knobs: Knobs) -> Step:
    """L = BCE(p', y) + beta * KL(p || p') * (1 - p_y), mean over images.

    p and p' are the probabilities of x and of x_adv, untargeted PGD as in PGD-AT, and
    BCE = -log p'_y - log(1 - max over k != y of p'_k). With label smoothing the first half of BCE
    is the smoothed cross-entropy.
    """
    beta = knobs.weights.mart_beta
    assert beta is not None
    x_adv = untargeted_example(networks, batch, knobs)
    adversarial, seen = networks.student_sees(x_adv, batch.x)
    classification = smoothed_cross_entropy(
        adversarial.logits, batch.y, smoothing=knobs.weights.smoothing
    )
    misclassified = mart_term(adversarial.logits, seen.logits, batch.y, beta=beta)
    terms = {"classification": classification, "mart": misclassified}
    return Step(classification + misclassified, terms, seen.logits, adversarial.logits)
