"""A classifier as it is now, in eval mode, for passes that only want the gradient of the images.

Pre-activation networks are copied with their batch norms folded away (`worker.models.folded`): the
same logits up to rounding, for less. Such a copy also remembers images, so that after a change of
a few pixels it computes only what that changes (`worker.models.patches`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from worker.models.base import Classifier, Outputs
from worker.models.blocks import in_blocks
from worker.models.folded import Folded, fold
from worker.models.patches import Memory
from worker.models.preactivation import PreActivationBlock
from worker.models.stages import Staged, staged


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
    return Frozen(fold(model, dtype or model.head.weight.dtype))


@dataclass(frozen=True)
class Frozen:
    """The copy of a pre-activation network."""

    folded: Folded
    passing: Callable[[Tensor], None] = lambda _: None
    """Is handed what every pass takes in: images, or the changed squares of images."""
    steady: bool = False
    """Take images in blocks (`worker.models.blocks`)."""

    def __call__(self, x: Tensor) -> Tensor:
        """Logits (N, K) of images (N, 3, H, W)."""
        self.passing(x)
        if not self.steady:
            return self.folded.outputs(x).logits
        (logits,) = in_blocks(lambda part: (self.folded.outputs(part).logits,), x)
        return logits

    def remember(self, x: Tensor) -> Memory:
        """The images, to be asked about changes of them."""
        return Memory(self.folded, x, self.passing)


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
    folded = fold(model, model.head.weight.dtype)
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
