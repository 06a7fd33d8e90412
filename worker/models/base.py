"""What every classifier of the lab offers: images in [0, 1] in, logits out, features by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn


class Outputs(NamedTuple):
    """One forward pass, seen at three depths."""

    features: Tensor
    """F(x): map of the last stage after its batch norm and ReLU, (N, C, H, W); of a transformer the
    attention of its class token, head by head."""
    embedding: Tensor
    """e(x): global average of the features, (N, C)."""
    logits: Tensor
    """(N, K)."""
    beside: Tensor | None = None
    """What logits follow from beside the features, (N, ...), where these are not all."""

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """All that there is."""
        return tuple(part for part in self if part is not None)


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
    attends: ClassVar[bool] = False
    """Whether its features are attention already; then no earlier stage has any."""

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
        centre, spread = _three_numbers("mean", mean), _three_numbers("std", std)
        if not min(spread) > 0:
            raise ValueError(f"std must be positive, not {list(std)}")
        self.register_buffer("mean", torch.tensor(centre))
        self.register_buffer("std", torch.tensor(spread))
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
        return self.read_out(self.body(self.normalised(x)))

    def normalised(self, x: Tensor) -> Tensor:
        """Images in [0, 1] by the mean and standard deviation of the training images' colours."""
        return (x - self.mean.view(1, 3, 1, 1)) / self.std.view(1, 3, 1, 1)

    def read_out(self, features: Tensor) -> Outputs:
        """Embedding and logits that follow from a feature map (N, C, H, W).

        Always in the parameters' own type: rounded to bfloat16, logits would differ by more than
        what many losses look at.
        """
        with torch.autocast(features.device.type, enabled=False):
            embedding = features.to(self.head.weight.dtype).mean(dim=(2, 3))  # (N, C)
            return Outputs(features, embedding, self.head(embedding))

    def read_again(self, features: Tensor, beside: Tensor | None) -> Outputs:
        """A pass from other features on, with what was beside them."""
        return self.read_out(features)

    @torch.no_grad()
    def choose_outputs(self, order: Sequence[int]) -> None:
        """Keep these outputs of the head, in this order."""
        chosen = nn.Linear(self.feature_dim, len(order)).to(self.head.weight)
        for kept, given in zip(chosen.parameters(), self.head.parameters(), strict=True):
            kept.copy_(given[list(order)]).requires_grad_(given.requires_grad)
        self.head, self.num_classes = chosen, len(order)

    def published_names(self) -> dict[str, str]:
        """What published checkpoints of the same network call a weight, by its name here.

        Empty where there are none, or where they use the names of this class.
        """
        return {}

    def further_names(self) -> tuple[dict[str, str], ...]:
        """What other published checkpoints of the same network call its weights."""
        return ()

    def adopted(
        self, weights: Mapping[str, Tensor], names: Mapping[str, str]
    ) -> tuple[dict[str, Tensor], str]:
        """Weights of a file as this network has to have them, and what was changed, in words.

        `names` are those of the file, by the network's own.
        """
        return dict(weights), ""

    def namings(self) -> tuple[dict[str, str], ...]:
        """Every way to name the weights: published names, then their own.

        What has no published name keeps its own.
        """
        own = {name: name for name in self.state_dict()}
        published = (self.published_names(), *self.further_names())
        return (*(own | names for names in published if names), own)


def _three_numbers(name: str, values: Sequence[float]) -> list[float]:
    """As float32 holds them, whatever device a network is built on."""
    numbers = torch.tensor([float(value) for value in values], device="cpu")
    if numbers.shape != (3,) or not numbers.isfinite().all():
        raise ValueError(f"{name} must be three finite numbers, not {list(values)}")
    found: list[float] = numbers.tolist()
    return found


def _initialise(model: nn.Module) -> None:
    """He initialisation (He et al. 2015, fan out) of the convolutions, zero bias of the head.

    Draws from torch's global generator; the caller seeds it.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
