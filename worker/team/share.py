"""Which images of a batch a process has, and what follows for draws and means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


class Share:
    """All images of a batch: nothing is to be shared. A process among several has a `Part`."""

    def of(self, rows: Tensor) -> Tensor:
        """Of a row for each image of the batch, (N, ...), those of the images here."""
        return rows

    def drawn(self, count: int, draw: Callable[[int], Tensor], dim: int = 0) -> Tensor:
        """Random numbers for `count` images here: a row for each in dimension `dim`.

        Args:
            count: a multiple of the images here; of k parts, such as x and x', the k-fold.
            draw: as many rows as it is told, which are those of the whole batch, part after part.
        """
        return draw(count)

    def weighed(self, loss: Tensor) -> Tensor:
        """A mean over the images here, so that the mean of all processes is that of the batch."""
        return loss

    def averaged(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The means over all processes, tensor by tensor."""
        return tensors


ALL = Share()


@dataclass(frozen=True)
class Part(Share):
    """The images from `start` to `stop`, of `whole`, which `processes` have among them."""

    start: int
    stop: int
    whole: int
    processes: int

    def of(self, rows: Tensor) -> Tensor:
        return rows[self.start : self.stop]

    def drawn(self, count: int, draw: Callable[[int], Tensor], dim: int = 0) -> Tensor:
        parts = count // (self.stop - self.start)
        rows = torch.unflatten(draw(parts * self.whole), dim, (parts, self.whole))
        return rows.narrow(dim + 1, self.start, self.stop - self.start).flatten(dim, dim + 1)

    def weighed(self, loss: Tensor) -> Tensor:
        weight = (self.stop - self.start) * self.processes / self.whole
        return loss if weight == 1 else weight * loss

    def averaged(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return means(tensors)


def means(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Of each tensor the mean over all processes, in one exchange."""
    together = torch.cat([tensor.detach().flatten() for tensor in tensors])
    dist.all_reduce(together)
    together /= dist.get_world_size()
    parts = torch.split(together, [tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]
