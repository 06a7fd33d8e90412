"""Metric learning with the forward example only: what BML is compared with in Wang et al. 2021.

Their released code has no such mode. The triplet here is BML's with the attack on the negative
left out, as in triplet loss adversarial training (Mao et al., NeurIPS 2019, arXiv 1909.00900):
the adversarial image, its clean source, and a clean image of another class.
"""

from __future__ import annotations

from worker.agkd_bml.objective import classification_terms, metric_term, total_of
from worker.recipes.base import Batch, Networks, Objective, Parameters, Step
from worker.recipes.examples import forward_example


def sml(networks: Networks, batch: Batch, parameters: Parameters) -> Objective:
    """L = CE_s(S(x_f), y) (+ MART) + lambda * triplet(e(x_f), e(x), e(x')).

    x_f is the forward example of BML. The negative is x' itself, a clean image of the most
    confusing class, where BML takes x' attacked towards the class of x.
    """
    x_f, y_prime = forward_example(networks, batch, parameters)
    x_prime = batch.draw_prime(y_prime)

    def objective() -> Step:
        forward, seen, prime = networks.student_sees(x_f, batch.x, x_prime)
        terms = classification_terms(forward, seen, batch.y, parameters.weights)
        metric = metric_term(forward, seen, prime, parameters.weights)
        loss = total_of(terms) + parameters.weights.bml_weight * metric
        return Step(loss, terms | {"sml": metric}, seen.logits, forward.logits)

    return objective
