"""The whole method (Wang et al., ICCV 2021, arXiv 2108.06017). With 7 steps it is AGKD-BML-7."""

from __future__ import annotations

from worker.agkd_bml.objective import agkd_bml_losses
from worker.recipes.base import Batch, Knobs, Networks, Step
from worker.recipes.method import both_directions


def agkd_bml(networks: Networks, batch: Batch, knobs: Knobs) -> Step:
    """L = CE_s(S(x_f), y) (+ MART) + AGKD + lambda * BML.

    The student attacks in eval mode and then, in train mode, sees x_f, x and x_b as one batch of
    3N; the teacher sees x and x' in eval mode.
    """
    x_f, x_b, x_prime = both_directions(networks, batch, knobs)
    forward, seen, backward = networks.student_sees(x_f, batch.x, x_b)
    of_x, of_x_prime = networks.teacher_features(batch.x, x_prime)
    losses = agkd_bml_losses(
        student_forward=forward,
        student_clean=seen,
        student_backward=backward,
        teacher_clean=of_x,
        teacher_prime=of_x_prime,
        y=batch.y,
        weights=knobs.weights,
    )
    terms = {name: term for name, term in losses._asdict().items() if term is not None}
    return Step(terms.pop("total"), terms, seen.logits, forward.logits)
