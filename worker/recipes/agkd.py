"""Attention guided knowledge distillation alone (Wang et al., ICCV 2021)."""

from __future__ import annotations

import torch

from worker.agkd_bml.objective import attention_loss
from worker.recipes.base import Batch, Knobs, Networks, Step
from worker.recipes.method import both_directions, classification_terms


def agkd(networks: Networks, batch: Batch, knobs: Knobs) -> Step:
    """L = CE_s(S(x_f), y) (+ MART) + AGKD, where

    AGKD = L1(A_S(x_f), A_T(x)) + L1(A_S(x_b), A_T(x')).
    """
    weights = knobs.weights
    x_f, x_b, x_prime = both_directions(networks, batch, knobs)
    forward, seen, backward = networks.student_sees(x_f, batch.x, x_b)
    of_x, of_x_prime = networks.teacher_features(batch.x, x_prime)
    terms = classification_terms(forward, seen, batch.y, weights)
    attention = attention_loss(forward.features, of_x) + attention_loss(
        backward.features, of_x_prime
    )
    loss = torch.stack(list(terms.values())).sum() + weights.agkd_weight * attention
    return Step(loss, terms | {"agkd": attention}, seen.logits, forward.logits)
