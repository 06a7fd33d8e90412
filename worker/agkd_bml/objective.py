"""The total loss: classification (+ MART) + AGKD + lambda * BML."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from worker.agkd_bml.attention import attention_map, l1_distance
from worker.agkd_bml.classification import mart_term, smoothed_cross_entropy
from worker.agkd_bml.metric import bidirectional_metric_loss
from worker.models.base import Outputs


class Losses(NamedTuple):
    """The terms of one batch before their weights, and their weighted total; scalars."""

    classification: Tensor
    mart: Tensor
    """Zero where MART is off."""
    agkd: Tensor
    bml: Tensor
    total: Tensor


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The parameters of the total loss.

    Raises:
        ValueError: a number that is negative or not finite, or a smoothing of 1 or more.
    """

    smoothing: float
    """s of the smoothed cross-entropy, in [0, 1)."""
    mart_beta: float | None
    """beta of MART; None leaves both of MART's parts out."""
    agkd_weight: float
    """Of the attention term; 1 in the paper."""
    bml_weight: float
    """lambda, of the metric term."""
    margin: float
    """m of the triplet."""
    mu: float
    """Weight of the embeddings' size within the metric term."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and not negative, not {value}")
        if self.smoothing >= 1:
            raise ValueError(f"smoothing must be below 1, not {self.smoothing}")


def agkd_bml_losses(
    *,
    student_forward: Outputs,
    student_clean: Outputs,
    student_backward: Outputs,
    teacher_clean: Tensor,
    teacher_prime: Tensor,
    y: Tensor,
    weights: Weights,
) -> Losses:
    """The loss of a batch of N images.

    Args:
        student_forward, student_clean, student_backward: S on x_f, x and x_b.
        teacher_clean, teacher_prime: features of T on x and x', (N, C, H, W).
        y: true classes of x, (N,).
    """
    classification = smoothed_cross_entropy(student_forward.logits, y, smoothing=weights.smoothing)
    if weights.mart_beta is None:
        mart = classification.new_zeros(())
    else:
        mart = mart_term(student_forward.logits, student_clean.logits, y, beta=weights.mart_beta)
    agkd = attention_loss(student_forward.features, teacher_clean) + attention_loss(
        student_backward.features, teacher_prime
    )
    bml = bidirectional_metric_loss(
        student_forward.embedding,
        student_clean.embedding,
        student_backward.embedding,
        margin=weights.margin,
        mu=weights.mu,
    )
    total = classification + mart + weights.agkd_weight * agkd + weights.bml_weight * bml
    return Losses(classification, mart, agkd, bml, total)


def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L1(A_S, A_T), mean over all elements, a scalar; features (N, C, H, W) each.

    The maps must have one height and width; the numbers of channels may differ.
    """
    return l1_distance(attention_map(student), attention_map(teacher)).mean()
