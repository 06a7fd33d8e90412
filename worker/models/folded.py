"""A pre-activation network with its batch norms folded away, in the order of its layers.

In eval mode a batch norm is an affine map of each channel. Where it follows a convolution and
nothing else needs that convolution's output, it is folded into the weights and a bias: one pass
over the feature map less, forwards and backwards, and the same logits up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worker.models.base import Classifier, Outputs
from worker.models.preactivation import PreActivationBlock
from worker.models.stages import LastMaps, Staged


class Affine(NamedTuple):
    """x -> scale * x + shift, channel by channel; (C,) each."""

    scale: Tensor
    shift: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return self.scale[:, None, None] * x + self.shift[:, None, None]


class Convolution(NamedTuple):
    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, ...]
    padding: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class Block(NamedTuple):
    norm: Affine | None
    """The first batch norm; None where it is folded into what comes before."""
    first: Convolution
    second: Convolution
    shortcut: Convolution | None

    def activated(self, x: Tensor) -> Tensor:
        """What its convolutions take in."""
        return F.relu(x if self.norm is None else self.norm(x))

    def __call__(self, x: Tensor, activated: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        return self.second(F.relu(self.first(activated))) + shortcut


class Folded(NamedTuple):
    """A network with folded batch norms, in the order of its layers."""

    mean: Tensor
    std: Tensor
    start: Convolution
    blocks: Sequence[Block]
    end: Affine | None
    weight: Tensor
    bias: Tensor

    def outputs(self, x: Tensor) -> Outputs:
        return self._through(x, lambda _: None)

    def staged(self, x: Tensor) -> Staged:
        maps = LastMaps()
        return maps.of(self._through(x, maps.keep))

    def _through(self, x: Tensor, meet: Callable[[Tensor], None]) -> Outputs:
        """`meet` is handed what each block's convolutions take in."""
        seen = self.start(self.normalised(x))
        for block in self.blocks:
            activated = block.activated(seen)
            meet(activated)
            seen = block(seen, activated)
        return self.read_out(self.ended(seen), x.dtype)

    def normalised(self, x: Tensor) -> Tensor:
        """What the first convolution takes in, of images in [0, 1]."""
        return ((x - self.mean) / self.std).to(self.start.weight.dtype)

    def ended(self, seen: Tensor) -> Tensor:
        """The last feature map (N, C, h, w), of what the last block gives."""
        return F.relu(seen if self.end is None else self.end(seen))

    def read_out(self, features: Tensor, dtype: torch.dtype) -> Outputs:
        """Embedding and logits, in the given type, of the last feature map (N, C, h, w)."""
        embedding = features.to(dtype).mean(dim=(2, 3))
        return Outputs(features, embedding, F.linear(embedding, self.weight, self.bias))


@torch.no_grad()
def fold(model: Classifier, dtype: torch.dtype) -> Folded:
    """The network with each batch norm folded that can be; a copy of all weights.

    The second norm of a block follows a convolution. The first one, and that after the last
    block, follow the stem or a block. They can be folded into a stem or into a block whose
    shortcut is a convolution, if nothing else reads their input; a block with an identity
    shortcut does.
    """
    layers = list(model.body.children())
    stem, last = layers[0], layers[-2]
    blocks = [layer for layer in layers if isinstance(layer, PreActivationBlock)]
    assert isinstance(stem, nn.Conv2d)
    norms = [_affine(norm) for norm in (*(block.bn1 for block in blocks), last)]
    bends = [block.shortcut is not None for block in blocks]
    folds = [before and alone for before, alone in pairwise([True, *bends, True])]
    # What follows the stem and each block within their own convolutions, and what does not.
    into = [norm if fold else None for norm, fold in zip(norms, folds, strict=True)]
    apart = [None if fold else _cast(norm, dtype) for norm, fold in zip(norms, folds, strict=True)]

    mean, std = (of.clone().view(1, 3, 1, 1) for of in (model.mean, model.std))
    return Folded(
        mean=mean,
        std=std,
        start=_convolution(stem, into[0], dtype),
        blocks=[_block(*parts, dtype) for parts in zip(blocks, apart[:-1], into[1:], strict=True)],
        end=apart[-1],
        weight=model.head.weight.clone(),
        bias=model.head.bias.clone(),
    )


def _block(
    block: PreActivationBlock, norm: Affine | None, then: Affine | None, dtype: torch.dtype
) -> Block:
    # The branches are scaled both; the shift is added once.
    bend = None if then is None else then._replace(shift=torch.zeros_like(then.shift))
    shortcut = block.shortcut
    return Block(
        norm=norm,
        first=_convolution(block.conv1, _affine(block.bn2), dtype),
        second=_convolution(block.conv2, then, dtype),
        shortcut=None if shortcut is None else _convolution(shortcut, bend, dtype),
    )


def _convolution(conv: nn.Conv2d, then: Affine | None, dtype: torch.dtype) -> Convolution:
    """The convolution followed by `then`."""
    assert isinstance(conv.padding, tuple)
    weight = conv.weight.detach()
    if then is None:
        return Convolution(weight.to(dtype, copy=True), None, conv.stride, conv.padding)
    scaled = weight * then.scale[:, None, None, None]  # (out, in, k, k)
    return Convolution(scaled.to(dtype), then.shift.to(dtype), conv.stride, conv.padding)


def _affine(norm: nn.Module) -> Affine:
    """gamma (x - mean) / sqrt(var + eps) + beta."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
    return Affine(scale, norm.bias.detach() - scale * norm.running_mean)


def _cast(affine: Affine, dtype: torch.dtype) -> Affine:
    return Affine(affine.scale.to(dtype), affine.shift.to(dtype))
