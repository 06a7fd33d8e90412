"""The terms of the total loss, classification (+ MART) + AGKD + lambda * BML, and their weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.agkd_bml.attention import attention_map, l1_distance
from worker.agkd_bml.classification import mart_term, smoothed_cross_entropy
from worker.agkd_bml.metric import bidirectional_metric_loss
from worker.models.base import Outputs


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


def classification_terms(
    adversarial: Outputs, clean: Outputs, y: Tensor, weights: Weights
) -> dict[str, Tensor]:
    """The smoothed cross-entropy of adversarial examples and, where it is on, the MART term."""
    smoothing, beta = weights.smoothing, weights.mart_beta
    terms = {"classification": smoothed_cross_entropy(adversarial.logits, y, smoothing=smoothing)}
    if beta is not None:
        terms["mart"] = mart_term(adversarial.logits, clean.logits, y, beta=beta)
    return terms


def total_of(terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of terms that have no weight, a scalar."""
    return torch.stack(list(terms.values())).sum()


def agkd_term(
    forward: Outputs, backward: Outputs, taught: Outputs, taught_prime: Outputs
) -> Tensor:
    """AGKD = L1(A_S(x_f), A_T(x)) + L1(A_S(x_b), A_T(x')), a scalar.

    Args:
        forward, backward: S on x_f and x_b.
        taught, taught_prime: T on x and x'.
    """
    at_forward = attention_loss(forward.features, taught.features)
    return at_forward + attention_loss(backward.features, taught_prime.features)


def metric_term(anchor: Outputs, positive: Outputs, negative: Outputs, weights: Weights) -> Tensor:
    """The metric loss of three embeddings (N, C), a scalar."""
    return bidirectional_metric_loss(
        anchor.embedding,
        positive.embedding,
        negative.embedding,
        margin=weights.margin,
        mu=weights.mu,
    )


def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L1(A_S, A_T), mean over all elements, a scalar; features (N, C, H, W) each.

    The maps must have one height and width; the numbers of channels may differ.
    """
    return l1_distance(attention_map(student), attention_map(teacher)).mean()
