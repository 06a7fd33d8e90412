"""A classifier as it is now, in eval mode, for passes that only want the gradient of the images.

In eval mode a batch norm is an affine map of each channel. Where it follows a convolution and
nothing else needs that convolution's output, it is folded into the weights and a bias: one pass
over the feature map less, forwards and backwards, and the same logits up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worker.models.base import Classifier, Outputs
from worker.models.preactivation import PreActivationBlock
from worker.models.stages import LastMaps, Staged, staged


def frozen(model: Classifier, *, dtype: torch.dtype | None) -> Callable[[Tensor], Tensor]:
    """Images (N, 3, H, W) in [0, 1] -> logits (N, K), as `model` gives them in eval mode now.

    Puts the model into eval mode. Use the result before the weights change: pre-activation
    networks are copied, any other model is called itself.

    Args:
        dtype: of the body's convolutions, such as torch.bfloat16; the head and the logits keep
            the parameters' type. None: the body keeps it too.
    """
    model.eval()
    if not _folds(model):
        return model if dtype is None else _autocast(model, dtype)
    folded = _fold(model, dtype or model.head.weight.dtype)

    def logits(x: Tensor) -> Tensor:
        return folded.outputs(x).logits

    return logits


class Passes(NamedTuple):
    """Ways through a model in eval mode, in the parameters' own type."""

    outputs: Callable[[Tensor], Outputs]
    staged: Callable[[Tensor], Staged]
    """The same, and a feature map of each resolution, as `staged` says."""


def frozen_passes(model: Classifier) -> Passes:
    """The same with features and embedding beside the logits, and with the stages on the way."""
    model.eval()
    if not _folds(model):
        return Passes(model.outputs, partial(staged, model))
    folded = _fold(model, model.head.weight.dtype)
    return Passes(folded.outputs, folded.staged)


def _folds(model: Classifier) -> bool:
    """Whether its batch norms can be folded away."""
    return _reads_out_plainly(model) and _is_preactivation(model.body)


def _autocast(model: Classifier, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    def logits(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, dtype=dtype):
            seen: Tensor = model(x)
        return seen.to(x.dtype)

    return logits


def _reads_out_plainly(model: Classifier) -> bool:
    """Whether it goes from images to logits as `Classifier` itself does, whatever its body."""
    steps = ("forward", "outputs", "read_out")
    return all(getattr(type(model), step) is getattr(Classifier, step) for step in steps)


def _is_preactivation(body: nn.Module) -> bool:
    """Whether it is what `preactivation_body` builds; a subclass may compute something else."""
    layers = list(body.children())
    if type(body) is not nn.Sequential or len(layers) <= 3:
        return False
    expected = [nn.Conv2d, *[PreActivationBlock] * (len(layers) - 3), nn.BatchNorm2d, nn.ReLU]
    return all(type(layer) is kind for layer, kind in zip(layers, expected, strict=True)) and all(
        _is_plain(module) for module in body.modules()
    )


def _is_plain(module: nn.Module) -> bool:
    """Whether it is no layer with more to it than `preactivation_body` gives one."""
    if isinstance(module, nn.Conv2d):
        return (
            module.bias is None
            and (module.dilation, module.groups) == ((1, 1), 1)
            and module.padding_mode == "zeros"
            and isinstance(module.padding, tuple)
        )
    return not isinstance(module, nn.BatchNorm2d) or (module.affine and module.track_running_stats)


class _Affine(NamedTuple):
    """x -> scale * x + shift, channel by channel; (C,) each."""

    scale: Tensor
    shift: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return self.scale[:, None, None] * x + self.shift[:, None, None]


class _Convolution(NamedTuple):
    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, ...]
    padding: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class _Block(NamedTuple):
    norm: _Affine | None
    """The first batch norm; None where it is folded into what comes before."""
    first: _Convolution
    second: _Convolution
    shortcut: _Convolution | None

    def activated(self, x: Tensor) -> Tensor:
        """What its convolutions take in."""
        return F.relu(x if self.norm is None else self.norm(x))

    def __call__(self, x: Tensor, activated: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        return self.second(F.relu(self.first(activated))) + shortcut


class _Folded(NamedTuple):
    """A network with folded batch norms, in the order of its layers."""

    mean: Tensor
    std: Tensor
    start: _Convolution
    blocks: Sequence[_Block]
    end: _Affine | None
    weight: Tensor
    bias: Tensor

    def outputs(self, x: Tensor) -> Outputs:
        return self._through(x, lambda _: None)

    def staged(self, x: Tensor) -> Staged:
        maps = LastMaps()
        return maps.of(self._through(x, maps.keep))

    def _through(self, x: Tensor, meet: Callable[[Tensor], None]) -> Outputs:
        """`meet` is handed what each block's convolutions take in."""
        seen = self.start(((x - self.mean) / self.std).to(self.start.weight.dtype))
        for block in self.blocks:
            activated = block.activated(seen)
            meet(activated)
            seen = block(seen, activated)
        features = F.relu(seen if self.end is None else self.end(seen))  # (N, C, h, w)
        embedding = features.to(x.dtype).mean(dim=(2, 3))
        return Outputs(features, embedding, F.linear(embedding, self.weight, self.bias))


@torch.no_grad()
def _fold(model: Classifier, dtype: torch.dtype) -> _Folded:
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
    return _Folded(
        mean=mean,
        std=std,
        start=_convolution(stem, into[0], dtype),
        blocks=[_block(*parts, dtype) for parts in zip(blocks, apart[:-1], into[1:], strict=True)],
        end=apart[-1],
        weight=model.head.weight.clone(),
        bias=model.head.bias.clone(),
    )


def _block(
    block: PreActivationBlock, norm: _Affine | None, then: _Affine | None, dtype: torch.dtype
) -> _Block:
    # The branches are scaled both; the shift is added once.
    bend = None if then is None else then._replace(shift=torch.zeros_like(then.shift))
    shortcut = block.shortcut
    return _Block(
        norm=norm,
        first=_convolution(block.conv1, _affine(block.bn2), dtype),
        second=_convolution(block.conv2, then, dtype),
        shortcut=None if shortcut is None else _convolution(shortcut, bend, dtype),
    )


def _convolution(conv: nn.Conv2d, then: _Affine | None, dtype: torch.dtype) -> _Convolution:
    """The convolution followed by `then`."""
    assert isinstance(conv.padding, tuple)
    weight = conv.weight.detach()
    if then is None:
        return _Convolution(weight.to(dtype, copy=True), None, conv.stride, conv.padding)
    scaled = weight * then.scale[:, None, None, None]  # (out, in, k, k)
    return _Convolution(scaled.to(dtype), then.shift.to(dtype), conv.stride, conv.padding)


def _affine(norm: nn.Module) -> _Affine:
    """gamma (x - mean) / sqrt(var + eps) + beta."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
    return _Affine(scale, norm.bias.detach() - scale * norm.running_mean)


def _cast(affine: _Affine, dtype: torch.dtype) -> _Affine:
    return _Affine(affine.scale.to(dtype), affine.shift.to(dtype))
