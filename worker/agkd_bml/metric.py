"""Bi-directional metric learning.

An adversarial image stays near its clean source and away from the image attacked the other way.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def distance(a: Tensor, b: Tensor) -> Tensor:
    """d(a, b) = 1 - |cos(a, b)|, in [0, 1], of embeddings (N, C) row by row -> (N,)."""
    return 1 - F.cosine_similarity(a, b).abs()


def bidirectional_metric_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *, margin: float, mu: float
) -> Tensor:
    """mean(max(0, m + d(a, p) - d(a, n))) + mu * (mean(a^2) + mean(p^2) + mean(n^2)), a scalar.

    Args:
        anchor: a = e(x_f), the forward examples' embeddings, (N, C).
        positive: p = e(x), the clean images'.
        negative: n = e(x_b), the backward examples'.
        margin: m.
        mu: weight of the embeddings' size.
    """
    triplet = (margin + distance(anchor, positive) - distance(anchor, negative)).relu().mean()
    size = anchor.square().mean() + positive.square().mean() + negative.square().mean()
    return triplet + mu * size
