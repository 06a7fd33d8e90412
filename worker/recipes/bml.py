"""Bi-directional metric learning alone (Wang et al., ICCV 2021)."""

from __future__ import annotations

import torch

from worker.recipes.base import Batch, Knobs, Networks, Step
from worker.recipes.method import both_directions, classification_terms, triplet


def bml(networks: Networks, batch: Batch, knobs: Knobs) -> Step:
    """L = CE_s(S(x_f), y) (+ MART) + lambda * triplet(e(x_f), e(x), e(x_b))."""
    weights = knobs.weights
    x_f, x_b, _ = both_directions(networks, batch, knobs)
    forward, seen, backward = networks.student_sees(x_f, batch.x, x_b)
    terms = classification_terms(forward, seen, batch.y, weights)
    metric = triplet(forward, seen, backward, weights)
    loss = torch.stack(list(terms.values())).sum() + weights.bml_weight * metric
    return Step(loss, terms | {"bml": metric}, seen.logits, forward.logits)
