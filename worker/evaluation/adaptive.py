"""An attack made for this defence: cross-entropy together with the attention that it protects."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from worker.attacks import FirstBreak, Norm
from worker.models.base import Outputs


class Seeing(Protocol):
    """A model that shows its features: a `Classifier`, or whatever watches one."""

    def outputs(self, x: Tensor) -> Outputs: ...


def adaptive(
    model: Seeing,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    step_size: float,
    steps: int,
    norm: Norm,
    noise: Tensor | None,
    reference: Seeing | None,
) -> FirstBreak:
    """PGD on cross-entropy plus w times the distance that attention has moved, for several w.

    Args:
        model: in eval mode.
        x, y: images (N, 3, H, W) in [0, 1] and their classes (N,), int64.
        eps, step_size: in units of [0, 1].
        steps: of each of the runs, one for each weight; broken images take no part in the next.
        norm: "linf" or "l2".
        noise: a point of the unit ball for each image, where the walk starts; None: at the image.
        reference: the model whose map of the clean image is left; None: the model itself.

    Returns:
        As every walk: `first_break` counts the steps over all runs, one after the other.

    Raises:
        ValueError: arguments that the walk refuses.
    """
    raise NotImplementedError
