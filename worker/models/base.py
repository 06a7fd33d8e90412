"""What every classifier of the lab offers: images in [0, 1] in, logits out, features by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn


class Outputs(NamedTuple):
    """One forward pass, seen at three depths."""

    features: Tensor
    """F(x): map of the last stage after its batch norm and ReLU, (N, C, H, W)."""
    embedding: Tensor
    """e(x): global average of the features, (N, C)."""
    logits: Tensor
    """(N, K)."""


class Classifier(nn.Module):
    """A feature extractor, global average pooling and a linear head; normalises inside.

    Args:
        body: maps normalised images (N, 3, H, W) to the last feature map (N, `feature_dim`, h, w),
            after its batch norm and ReLU.
        feature_dim: C, channels of that map.
        num_classes: K, at least 2.
        mean, std: of the training images' colour channels, three numbers each, in units of [0, 1].

    Raises:
        ValueError: fewer than 2 classes; mean or std not three finite numbers; std not positive.
    """

    mean: Tensor
    std: Tensor
    unused: ClassVar[tuple[str, ...]] = ()
    """Beginnings of names in published checkpoints whose weights no forward pass uses."""

    def __init__(
        self,
        *,
        body: nn.Module,
        feature_dim: int,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"a classifier needs at least 2 classes, not {num_classes}")
        self.register_buffer("mean", _three_numbers("mean", mean))
        self.register_buffer("std", _three_numbers("std", std))
        if not (self.std > 0).all():
            raise ValueError(f"std must be positive, not {list(std)}")
        self.feature_dim = feature_dim
        self.num_classes = num_classes
        self.body = body
        self.head = nn.Linear(feature_dim, num_classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) of images x in [0, 1], (N, 3, H, W)."""
        return self.outputs(x).logits

    def outputs(self, x: Tensor) -> Outputs:
        """Features, embedding and logits of images x in [0, 1], (N, 3, H, W)."""
        normalised = (x - self.mean.view(1, 3, 1, 1)) / self.std.view(1, 3, 1, 1)
        return self.read_out(self.body(normalised))

    def read_out(self, features: Tensor) -> Outputs:
        """Embedding and logits that follow from a feature map (N, C, H, W).

        Always in the parameters' own type: rounded to bfloat16, logits would differ by more than
        what many losses look at.
        """
        with torch.autocast(features.device.type, enabled=False):
            embedding = features.to(self.head.weight.dtype).mean(dim=(2, 3))  # (N, C)
            return Outputs(features, embedding, self.head(embedding))

    def published_names(self) -> dict[str, str]:
        """What published checkpoints of the same network call a weight, by its name here.

        Empty where there are none, or where they use the names of this class.
        """
        return {}


def _three_numbers(name: str, values: Sequence[float]) -> Tensor:
    numbers = torch.tensor([float(value) for value in values])
    if numbers.shape != (3,) or not numbers.isfinite().all():
        raise ValueError(f"{name} must be three finite numbers, not {list(values)}")
    return numbers


def _initialise(model: nn.Module) -> None:
    """He initialisation (He et al. 2015, fan out) of the convolutions, zero bias of the head.

    Draws from torch's global generator; the caller seeds it.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
