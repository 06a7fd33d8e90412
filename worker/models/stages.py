"""One forward pass, and what it makes of the image at each resolution on its way."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from worker.models.base import Classifier, Outputs


class Staged(NamedTuple):
    """A pass and its feature maps."""

    outputs: Outputs
    stages: tuple[Tensor, ...]
    """(N, C_s, H_s, W_s) each, not negative, from the finest to the coarsest; the last is F(x)."""


def staged(model: Classifier, x: Tensor) -> Staged:
    """The outputs of images (N, 3, H, W) in [0, 1], and a feature map of each resolution.

    Of each resolution finer than F(x) it is the last square map that a module of the body
    computes, through a ReLU. In a pre-activation network that is what the next stage's first block
    takes in after its batch norm, as F(x) itself stands behind one; elsewhere the end of a stage.
    """
    last: dict[tuple[int, ...], Tensor] = {}

    def keep(module: nn.Module, given: Any, found: Any) -> None:
        if isinstance(found, Tensor) and found.dim() == 4 and found.shape[2] == found.shape[3]:
            last[tuple(found.shape[2:])] = found

    hooks = [module.register_forward_hook(keep) for module in model.body.modules()]
    try:
        outputs = model.outputs(x)
    finally:
        for hook in hooks:
            hook.remove()
    size = outputs.features.shape[2] * outputs.features.shape[3]
    finer = sorted((shape for shape in last if shape[0] * shape[1] > size), reverse=True)
    return Staged(outputs, (*(last[shape].relu() for shape in finer), outputs.features))
