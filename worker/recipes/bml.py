"""Bi-directional metric learning alone (Wang et al., ICCV 2021)."""

from __future__ import annotations

from worker.agkd_bml.objective import classification_terms, metric_term, total_of
from worker.recipes.base import Batch, Networks, Objective, Parameters, Step
from worker.recipes.examples import both_directions


def bml(networks: Networks, batch: Batch, parameters: Parameters) -> Objective:
    """L = CE_s(S(x_f), y) (+ MART) + lambda * triplet(e(x_f), e(x), e(x_b))."""
    x_f, x_b, _ = both_directions(networks, batch, parameters)

    def objective() -> Step:
        forward, seen, backward = networks.student_sees(x_f, batch.x, x_b)
        terms = classification_terms(forward, seen, batch.y, parameters.weights)
        metric = metric_term(forward, seen, backward, parameters.weights)
        loss = total_of(terms) + parameters.weights.bml_weight * metric
        return Step(loss, terms | {"bml": metric}, seen.logits, forward.logits)

    return objective
