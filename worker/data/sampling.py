"""Which images come next: shuffled epochs that resume, and random images of given classes."""

from collections.abc import Iterator
from typing import TypedDict

import torch
from torch import Tensor

from worker.team import ALL, Share


class SamplerState(TypedDict):
    """What an `EpochSampler` needs to go on: plain numbers and one uint8 tensor."""

    epoch: int
    position: int
    generator: Tensor


class EpochSampler:
    """Endless epochs of shuffled batches of indices, each image once an epoch.

    Iterating gives the batches that are left of the current epoch; iterating again gives the next
    epoch. `state_dict` between two batches, restored into a sampler of the same size and batch
    size, goes on with the very next batch.

    Attributes:
        epoch: epochs finished.
        position: batches given of the current epoch.

    Raises:
        ValueError: `size` or `batch_size` is below 1, or the generator is not on the CPU.
    """

    def __init__(self, size: int, batch_size: int, generator: torch.Generator) -> None:
        """Sample from 0..size-1; `generator` belongs to this sampler alone from now on."""
        if size < 1 or batch_size < 1:
            raise ValueError(f"size and batch_size must be positive, got {size} and {batch_size}")
        if generator.device.type != "cpu":
            raise ValueError(f"the generator must be on the CPU, got {generator.device}")
        self.epoch = 0
        self.position = 0
        self._size = size
        self._batch_size = batch_size
        self._generator = generator
        self._shuffle()

    def __len__(self) -> int:
        """Batches of a whole epoch; the last one may be smaller than the others."""
        return -(-self._size // self._batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        """The rest of the current epoch: (B,) int64 on the CPU, B <= batch size."""
        while self.position < len(self):
            start = self.position * self._batch_size
            self.position += 1
            yield self._order[start : start + self._batch_size]
        self.epoch += 1
        self.position = 0
        self._shuffle()

    def state_dict(self) -> SamplerState:
        return {
            "epoch": self.epoch,
            "position": self.position,
            "generator": self._before_shuffle.clone(),
        }

    def load_state_dict(self, state: SamplerState) -> None:
        """Go on from `state`.

        Raises:
            ValueError: `state` does not fit a sampler of this size.
        """
        if state["epoch"] < 0 or not 0 <= state["position"] <= len(self):
            raise ValueError(f"no batch {state['position']} in an epoch of {len(self)} batches")
        self.epoch = state["epoch"]
        self.position = state["position"]
        self._generator.set_state(state["generator"].cpu())
        self._shuffle()

    def _shuffle(self) -> None:
        self._before_shuffle = self._generator.get_state()
        self._order = torch.randperm(self._size, generator=self._generator)


class ClassIndex:
    """Finds random images of given classes.

    Keeps the indices sorted by class, so that a draw is one gather on the labels' device.

    Raises:
        ValueError: `labels` is not (N,) int64, or a class in 0..max has no image.
    """

    def __init__(self, labels: Tensor) -> None:
        """Index `labels` (N,) int64."""
        if labels.ndim != 1 or labels.dtype != torch.int64 or not len(labels):
            raise ValueError(f"expected (N,) int64, got {tuple(labels.shape)} {labels.dtype}")
        self._by_class = torch.argsort(labels, stable=True)  # (N,)
        self._counts = torch.bincount(labels)  # (K,)
        if not bool((self._counts > 0).all()):
            raise ValueError("every class needs an image")
        self._starts = self._counts.cumsum(0) - self._counts  # (K,)

    def draw(self, classes: Tensor, generator: torch.Generator, share: Share = ALL) -> Tensor:
        """For each of `classes`, the index of an image of that class, uniformly, with replacement.

        Args:
            classes: (N,) int64 on the labels' device, each in 0..K-1.
            generator: on any device; on the CPU it gives the same draws for every device.
            share: which of the draws for a whole batch are for the classes here.

        Returns:
            (N,) int64 on the labels' device.
        """

        def numbers(count: int) -> Tensor:
            # Of 2^62 values, the remainder by a class count is uniform to one part in 10^13.
            return torch.randint(
                2**62, (count,), generator=generator, device=generator.device, dtype=torch.int64
            )

        draws = share.drawn(len(classes), numbers)
        offsets = draws.to(classes.device, non_blocking=True) % self._counts[classes]
        return self._by_class[self._starts[classes] + offsets]
