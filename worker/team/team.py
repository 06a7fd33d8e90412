"""A process among those that train one model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from worker.models import Classifier, Outputs
from worker.team.batch_norm import Synchronised
from worker.team.share import ALL, Part, Share, means


@dataclass(frozen=True)
class Team:
    """Which of `size` processes this one is; collectives need `torch.distributed` to be set up."""

    rank: int
    size: int

    @property
    def leads(self) -> bool:
        """Whether it is the one that reports and writes."""
        return self.rank == 0

    def share(self, images: int) -> Share:
        """Its share of a batch, the same number of images for each, or one more for the first."""
        if self.size == 1:
            return ALL
        each, more = divmod(images, self.size)
        start = self.rank * each + min(self.rank, more)
        return Part(start, start + each + (self.rank < more), images, self.size)

    def seeing(self, student: Classifier, *, synchronised: bool) -> Callable[[Tensor], Outputs]:
        """The student in train mode, for images (N, 3, H, W) of this process.

        A backward pass leaves the mean of all processes' gradients in its weights, which start as
        those of the first process. `synchronised`: batch norms see the images of all.
        """
        if self.size == 1:
            return student.outputs
        # Gradients are kept between steps, so they may as well lie where they are exchanged.
        return DistributedDataParallel(
            _Seeing(student, synchronised), forward_sync_buffers=False, gradient_as_bucket_view=True
        )

    def total(self, counts: dict[str, int]) -> dict[str, int]:
        """The sums over all processes, name by name."""
        if self.size == 1:
            return counts
        sums = torch.tensor(list(counts.values()))
        dist.all_reduce(sums)
        return dict(zip(counts, sums.tolist(), strict=True))

    @torch.no_grad()
    def even_out(self, model: nn.Module) -> None:
        """Give the running statistics of its batch norms the mean of all processes' ones."""
        if self.size == 1:
            return
        own = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        for buffer, mean in zip(own, means(own), strict=True):
            buffer.copy_(mean)


ALONE = Team(rank=0, size=1)


class _Seeing(nn.Module):
    """What `DistributedDataParallel` wraps: its `forward` gives all outputs of the student."""

    def __init__(self, student: Classifier, synchronised: bool) -> None:
        super().__init__()
        self.student = student
        self._synchronised = synchronised

    def forward(self, x: Tensor) -> Outputs:
        with _batch_norms(self._synchronised):
            return self.student.outputs(x)


@contextmanager
def _batch_norms(synchronised: bool) -> Iterator[None]:
    if synchronised:
        with Synchronised():
            yield
    else:
        yield
