"""How jobs attack: models that count their passes and look, now and then, for the job's end."""

from __future__ import annotations

import time
from typing import Any

from torch import nn

from worker.evaluation.progress import Meter
from worker.models import Classifier

_TELL_EVERY_S = 0.25
_FORWARD = 1 / 3
"""What a pass without gradients costs, of one forward and backward."""


class Watch:
    """Counts the passes of models, and reports now and then; what the report raises ends them.

    Attacks pass images through a model at every step, so none outlasts a cancelled job by more than
    a step.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter, self._last = meter, time.monotonic()

    def over(self, model: Classifier) -> Classifier:
        """Watch the model; returns it."""
        model.body.register_forward_pre_hook(self._passing)
        return model

    def _passing(self, _: nn.Module, arguments: tuple[Any, ...]) -> None:
        (x,) = arguments
        self._meter.count(len(x) * (1 if x.requires_grad else _FORWARD))
        now = time.monotonic()
        if now - self._last >= _TELL_EVERY_S:
            self._last = now
            self._meter.tell()
