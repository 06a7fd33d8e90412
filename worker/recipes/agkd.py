"""Attention guided knowledge distillation alone (Wang et al., ICCV 2021)."""

from __future__ import annotations

from worker.agkd_bml.objective import agkd_term, classification_terms, total_of
from worker.recipes.base import Batch, Networks, Objective, Parameters, Step
from worker.recipes.examples import both_directions


def agkd(networks: Networks, batch: Batch, parameters: Parameters) -> Objective:
    """L = CE_s(S(x_f), y) (+ MART) + AGKD, where

    AGKD = L1(A_S(x_f), A_T(x)) + L1(A_S(x_b), A_T(x')).
    """
    x_f, x_b, x_prime = both_directions(networks, batch, parameters)
    taught = networks.teacher_sees(batch.x, x_prime)

    def objective() -> Step:
        forward, seen, backward = networks.student_sees(x_f, batch.x, x_b)
        terms = classification_terms(forward, seen, batch.y, parameters.weights)
        attention = agkd_term(forward, backward, *taught)
        loss = total_of(terms) + parameters.weights.agkd_weight * attention
        return Step(loss, terms | {"agkd": attention}, seen.logits, forward.logits)

    return objective
