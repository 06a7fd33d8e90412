"""Bi-directional metric learning alone (Wang et al., ICCV 2021)."""

from __future__ import annotations

from worker.agkd_bml.objective import classification_terms, metric_term, total_of
from worker.recipes.base import Batch, Knobs, Networks, Step
from worker.recipes.method import both_directions


def bml(networks: Networks, batch: Batch, knobs: Knobs) -> Step:
    """L = CE_s(S(x_f), y) (+ MART) + lambda * triplet(e(x_f), e(x), e(x_b))."""
    x_f, x_b, _ = both_directions(networks, batch, knobs)
    forward, seen, backward = networks.student_sees(x_f, batch.x, x_b)
    terms = classification_terms(forward, seen, batch.y, knobs.weights)
    metric = metric_term(forward, seen, backward, knobs.weights)
    loss = total_of(terms) + knobs.weights.bml_weight * metric
    return Step(loss, terms | {"bml": metric}, seen.logits, forward.logits)
