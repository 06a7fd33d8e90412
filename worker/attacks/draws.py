"""Where an attack's random numbers come from.

An image's own numbers follow from a seed of its own, so that they are the same in whatever batch it
is. Without such seeds they are drawn for the batch as a whole, as authors do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Draw = Callable[[Tensor, torch.Generator], Tensor]
"""Something random like images (M, ...), each of them for itself, from a generator on the CPU."""


class Draws:
    """Those of one run of an attack; the global generators stay as they are."""

    def __init__(self, seed: int, seeds: Sequence[int] | None) -> None:
        """`seeds`: one for each image of the batch."""
        self.common = torch.Generator().manual_seed(seed)
        """Of what all images share."""
        self._each = (
            None if seeds is None else [torch.Generator().manual_seed(own) for own in seeds]
        )

    def each(self, like: Tensor, draw: Draw) -> Tensor:
        """A draw for every image, like the batch (N, ...) in shape, type, layout and device."""
        on_cpu = torch.empty_like(like, device="cpu")
        if self._each is None:
            found = draw(on_cpu, self.common)
        else:
            one = torch.empty(1, *like.shape[1:], dtype=like.dtype)
            found = torch.cat([draw(one, generator) for generator in self._each])
        return found.to(like, memory_format=torch.preserve_format)

    def signs(self, rows: Tensor, shape: Sequence[int]) -> Tensor | None:
        """-1 or 1 of that shape for each of the images at `rows`, (M,); None where none is an
        image's own."""
        if self._each is None:
            return None
        drawn = [torch.rand(shape, generator=self._each[row]) for row in rows.tolist()]
        return (2 * torch.stack(drawn) - 1).sign()

    def seeds(self, count: int) -> list[int]:
        """A seed for every image."""
        if self._each is None:
            found = torch.randint(2**62, (count,), generator=self.common)
        else:
            found = torch.cat([torch.randint(2**62, (1,), generator=g) for g in self._each])
        seeds: list[int] = found.tolist()
        return seeds


def uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """In [0, 1)."""
    return torch.rand(like.shape, generator=generator, dtype=like.dtype)


def normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype)
