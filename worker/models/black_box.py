"""A model that only answers: images in [0, 1] in, a score for each class out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class BlackBox(nn.Module):
    """Asks a model that is held as a function, and shows neither gradients nor features.

    Args:
        ask: images (N, 3, H, W) in [0, 1] -> scores (N, O), of which the highest is the answer.
        order: the number of the score that stands for each class, (K,).
    """

    def __init__(self, ask: Callable[[Tensor], Tensor], order: Sequence[int]) -> None:
        super().__init__()
        self._ask, self._order = ask, tuple(order)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self._order)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, K) of images x in [0, 1], (N, 3, H, W).

        Raises:
            TypeError: a gradient is wanted, which there is none of.
        """
        if x.requires_grad:
            raise TypeError("a black box has no gradients")
        return self._ask(x)[:, list(self._order)]

    def choose_outputs(self, order: Sequence[int]) -> None:
        """Keep these scores, in this order."""
        self._order = tuple(self._order[number] for number in order)
