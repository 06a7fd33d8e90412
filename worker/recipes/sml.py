"""Metric learning with the forward example only: what BML is compared with in Wang et al. 2021."""

from __future__ import annotations

import torch

from worker.agkd_bml.examples import most_confusing_class
from worker.attacks import pgd
from worker.recipes.base import Batch, Knobs, Networks, Step
from worker.recipes.method import classification_terms, triplet


def sml(networks: Networks, batch: Batch, knobs: Knobs) -> Step:
    """L = CE_s(S(x_f), y) (+ MART) + lambda * triplet(e(x_f), e(x), e(x')).

    x_f is the forward example of BML. The negative is x' itself, a clean image of the most
    confusing class, where BML takes x' attacked towards the class of x.
    """
    attack, weights = knobs.attack, knobs.weights
    student = networks.attacked()
    with torch.no_grad():
        y_prime = most_confusing_class(student(batch.x), batch.y)
    x_f = pgd(
        student,
        batch.x,
        y_prime,
        eps=attack.eps,
        step_size=attack.step_size,
        steps=attack.steps,
        norm="linf",
        targeted=True,
        random_start=True,
        generator=batch.generator,
    )
    forward, seen, prime = networks.student_sees(x_f, batch.x, batch.draw_prime(y_prime))
    terms = classification_terms(forward, seen, batch.y, weights)
    metric = triplet(forward, seen, prime, weights)
    loss = torch.stack(list(terms.values())).sum() + weights.bml_weight * metric
    return Step(loss, terms | {"sml": metric}, seen.logits, forward.logits)
