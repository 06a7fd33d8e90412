"""Clean training: an undefended classifier, the teacher."""

from __future__ import annotations

from worker.agkd_bml.classification import smoothed_cross_entropy
from worker.recipes.base import Batch, Networks, Objective, Parameters, Step


def clean(networks: Networks, batch: Batch, parameters: Parameters) -> Objective:
    """L = CE_s(S(x), y), the cross-entropy with label smoothing s."""

    def objective() -> Step:
        (seen,) = networks.student_sees(batch.x)
        loss = smoothed_cross_entropy(seen.logits, batch.y, smoothing=parameters.weights.smoothing)
        return Step(loss, {"classification": loss}, seen.logits, None)

    return objective
