"""A model that only answers: images in [0, 1] in, a score for each class out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class BudgetSpentError(Exception):
    """A model was asked about as many images as it may be asked about."""


class BlackBox(nn.Module):
    """Asks a model that is held as a function, and shows neither gradients nor features.

    Args:
        ask: images (N, 3, H, W) in [0, 1] -> scores (N, O), of which the highest is the answer.
        order: the number of the score that stands for each class, (K,).
        budget: images that it may be asked about; None: any number.
    """

    def __init__(
        self,
        ask: Callable[[Tensor], Tensor],
        order: Sequence[int],
        *,
        budget: int | None = None,
    ) -> None:
        super().__init__()
        self._ask, self._order = ask, tuple(order)
        self.budget, self.asked = budget, 0
        """`asked`: images that it was asked about so far."""

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self._order)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, K) of images x in [0, 1], (N, 3, H, W).

        Raises:
            TypeError: a gradient is wanted, which there is none of.
            BudgetSpentError: nothing was asked, for it would be more than the budget.
        """
        if x.requires_grad:
            raise TypeError("a black box has no gradients")
        if self.budget is not None and self.asked + len(x) > self.budget:
            raise BudgetSpentError
        self.asked += len(x)
        return self._ask(x)[:, list(self._order)]

    def choose_outputs(self, order: Sequence[int]) -> None:
        """Keep these scores, in this order."""
        self._order = tuple(self._order[number] for number in order)
