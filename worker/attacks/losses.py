"""What attacks on logits climb, image by image: it rises as the model turns away from a class.

An attack that aims at a class climbs the negative of the same loss for that class.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits (M, K) and classes (M,) -> values (M,)."""


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log softmax(z)_y, (M,)."""
    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """max_{c != y} z_c - z_y, (M,): positive where the model errs (Carlini and Wagner, S&P 2017).

    Its gradient does not vanish where the model is sure, as that of the cross-entropy does.
    """
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.amax(dim=1) - logits.gather(1, y[:, None]).squeeze(1)
