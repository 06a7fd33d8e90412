"""How jobs attack: models that count their passes, and tell of each how far the work is."""

from __future__ import annotations

from typing import Any

from torch import nn

from worker.evaluation.progress import Meter
from worker.models import Classifier

_FORWARD = 1 / 3
"""What a pass without gradients costs, of one forward and backward."""


class Watch:
    """Counts and reports the passes of models; what the report raises ends them.

    Attacks pass images through a model at every step, so none outlasts a cancelled job by more than
    a step.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def over(self, model: Classifier) -> Classifier:
        """Watch the model; returns it."""
        model.body.register_forward_pre_hook(self._passing)
        return model

    def _passing(self, _: nn.Module, arguments: tuple[Any, ...]) -> None:
        (x,) = arguments
        self._meter.count(len(x) * (1 if x.requires_grad else _FORWARD))
        self._meter.tell()
