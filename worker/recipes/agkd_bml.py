"""The whole method (Wang et al., ICCV 2021, arXiv 2108.06017). With 7 steps it is AGKD-BML-7."""

from __future__ import annotations

from worker.agkd_bml.objective import agkd_term, classification_terms, metric_term, total_of
from worker.recipes.base import Batch, Networks, Objective, Parameters, Step
from worker.recipes.examples import both_directions


def agkd_bml(networks: Networks, batch: Batch, parameters: Parameters) -> Objective:
    """L = CE_s(S(x_f), y) (+ MART) + AGKD + lambda * BML.

    The student attacks in eval mode and then, in train mode, sees x_f, x and x_b as one batch of
    3N; the teacher sees x and x' in eval mode.
    """
    x_f, x_b, x_prime = both_directions(networks, batch, parameters)
    taught = networks.teacher_sees(batch.x, x_prime)
    weights = parameters.weights

    def objective() -> Step:
        forward, seen, backward = networks.student_sees(x_f, batch.x, x_b)
        terms = classification_terms(forward, seen, batch.y, weights)
        attention = agkd_term(forward, backward, *taught)
        metric = metric_term(forward, seen, backward, weights)
        loss = total_of(terms) + weights.agkd_weight * attention + weights.bml_weight * metric
        return Step(loss, terms | {"agkd": attention, "bml": metric}, seen.logits, forward.logits)

    return objective
