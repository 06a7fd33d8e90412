"""How jobs attack: models that count their passes, and tell of each how far the work is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from worker.attacks import Model
from worker.evaluation.progress import Meter
from worker.models import AnyModel, Classifier, Frozen, frozen
from worker.models.blocks import steady

FORWARD = 1 / 3
"""What a pass without gradients costs, of one forward and backward."""


class Watch:
    """Counts and reports the passes of models; what the report raises ends them.

    Attacks pass images through a model at every step, so none outlasts a cancelled job by more than
    a step.
    """

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        """Of the work that is being done now."""

    def over(self, model: AnyModel) -> AnyModel:
        """Watch the model, and have a network answer alike in any batch; returns it."""
        if not isinstance(model, Classifier):
            model.register_forward_pre_hook(self._passing)
            return model
        return steady(model, self._count)

    def copy_of(self, model: AnyModel) -> Model:
        """A model that is watched, as attacks call it: quicker where its batch norms fold away."""
        if not isinstance(model, Classifier):
            return model
        copy = frozen(model, dtype=None)
        if not isinstance(copy, Frozen):
            return copy
        return replace(copy, passing=self._count, steady=True)

    def _passing(self, _: nn.Module, arguments: tuple[Any, ...]) -> None:
        self._count(*arguments)

    def _count(self, x: Tensor) -> None:
        self.meter.count(len(x) * (1 if x.requires_grad else FORWARD))
        self.meter.tell()
