"""Parts of a dataset: which images belong to them, and their tensors on a device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def stratified_holdout(
    labels: NDArray[np.int64], *, fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split indices into (kept, held out), class by class, at random.

    Of a class of n images, `fraction` * n, rounded, are held out, but at least 1 and at most n - 1;
    the image of a class of one is kept.

    Args:
        labels: (N,) classes.
        fraction: share to hold out, in (0, 1).
        seed: the same labels, fraction and seed give the same split.

    Returns:
        Two sorted arrays of indices that share none and together cover 0..N-1.

    Raises:
        ValueError: `fraction` is outside (0, 1).
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"fraction must lie in (0, 1), got {fraction}")
    rng = np.random.default_rng(seed)
    held = np.zeros(len(labels), dtype=bool)
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        held[rng.permutation(members)[:count]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


class TensorSplit(NamedTuple):
    """A split on a device.

    Attributes:
        images: (N, 3, H, W) uint8, channels last in memory.
        labels: (N,) int64.
        masks: (N, H, W) bool, True on the object; None where the dataset has none.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Float images (B, 3, H, W) in [0, 1], channels last, and labels (B,) at `indices` (B,)."""
        from worker.data.augment import to_float

        indices = indices.to(self.labels.device, non_blocking=True)
        return to_float(self.images[indices]), self.labels[indices]


@dataclass(frozen=True)
class Split:
    """One part of a dataset: rows `indices` of the arrays that hold it.

    The arrays are memory-mapped; `images`, `labels` and `masks` read the rows of this part.
    """

    name: str
    all_images: NDArray[np.uint8]  # (M, H, W, 3)
    all_labels: NDArray[np.int64]  # (M,)
    all_masks: NDArray[np.bool_] | None  # (M, H, W)
    indices: NDArray[np.int64]  # (N,) sorted, into the M rows

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def images(self) -> NDArray[np.uint8]:
        """(N, H, W, 3) uint8, a copy."""
        return self.all_images[self.indices]

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) int64, a copy."""
        return self.all_labels[self.indices]

    @property
    def masks(self) -> NDArray[np.bool_] | None:
        """(N, H, W) bool, True on the object, a copy; None where the dataset has none."""
        return None if self.all_masks is None else self.all_masks[self.indices]

    def sample(self, count: int, *, seed: int) -> Split:
        """`count` images of this part drawn at random without replacement, balanced over classes.

        Rows of a dataset may be sorted by class, so the first `count` rows are not a fair sample.
        Class counts differ by at most 1 as long as the classes have images enough.

        Raises:
            ValueError: `count` is not in 1..len(self).
        """
        if not 1 <= count <= len(self):
            raise ValueError(f"count must lie in 1..{len(self)}, got {count}")
        return self.only(self.drawn(seed=seed)[:count])

    def only(self, indices: NDArray[np.int64]) -> Split:
        """The images with these numbers, in rising order."""
        return replace(self, indices=np.sort(indices))

    def drawn(self, *, seed: int) -> NDArray[np.int64]:
        """Numbers of all images of this part in the order in which `sample` draws them."""
        rng = np.random.default_rng(seed)
        shuffled = rng.permutation(self.indices)
        labels = self.all_labels[shuffled]
        turn = np.empty(len(shuffled), dtype=np.int64)
        for c in np.unique(labels):
            members = np.flatnonzero(labels == c)
            turn[members] = np.arange(len(members))
        # Every class's first image, then every class's second, ...; ties in random order.
        return shuffled[np.lexsort((rng.permutation(len(shuffled)), turn))]

    def to(self, device: torch.device | str) -> TensorSplit:
        """Copy this part into memory of `device`."""
        import torch

        # (N, H, W, 3) seen as (N, 3, H, W) is the channels-last format, with no further copy.
        images = torch.from_numpy(self.images).to(device).permute(0, 3, 1, 2)
        masks = self.masks
        return TensorSplit(
            images,
            torch.from_numpy(self.labels).to(device),
            None if masks is None else torch.from_numpy(masks).to(device),
        )
