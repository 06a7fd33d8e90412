"""One forward pass, and what it makes of the image at each resolution on its way."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

from torch import Tensor, nn

from worker.models.base import Classifier, Outputs


class Staged(NamedTuple):
    """A pass and its feature maps."""

    outputs: Outputs
    stages: tuple[Tensor, ...]
    """(N, C_s, H_s, W_s) each, not negative, from the finest to the coarsest; the last is F(x)."""


class LastMaps:
    """The last square feature map of each resolution that a pass comes by."""

    def __init__(self) -> None:
        self._last: dict[int, Tensor] = {}

    def keep(self, found: Tensor) -> None:
        """(N, C, H, W), before or after its ReLU; of another shape it is left out."""
        if found.dim() == 4 and found.shape[2] == found.shape[3]:
            self._last[found.shape[2]] = found

    def of(self, outputs: Outputs) -> Staged:
        """The pass that came by them, with those finer than F(x)."""
        _, _, height, width = outputs.features.shape
        finer = sorted((side for side in self._last if side * side > height * width), reverse=True)
        return Staged(outputs, (*(self._last[side].relu() for side in finer), outputs.features))


def staged(model: Classifier, x: Tensor) -> Staged:
    """The outputs of images (N, 3, H, W) in [0, 1], and a feature map of each resolution.

    Of each resolution finer than F(x) it is the last square map that a module of the body
    computes, through a ReLU. In a pre-activation network that is what the next stage's first block
    takes in after its batch norm, as F(x) itself stands behind one; elsewhere the end of a stage.
    """
    if model.attends:
        outputs = model.outputs(x)
        return Staged(outputs, (outputs.features,))
    maps, thread = LastMaps(), threading.get_ident()

    def keep(module: nn.Module, given: Any, found: Any) -> None:
        # Other threads may be on their way through the model.
        if isinstance(found, Tensor) and threading.get_ident() == thread:
            maps.keep(found)

    hooks = [module.register_forward_hook(keep) for module in model.body.modules()]
    try:
        return maps.of(model.outputs(x))
    finally:
        for hook in hooks:
            hook.remove()
