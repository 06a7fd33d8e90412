"""What all recipes share: the networks of a step, its parameters, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from worker.agkd_bml.examples import TrainingAttack
from worker.agkd_bml.objective import Weights
from worker.attacks import Model
from worker.models import Classifier, Outputs, frozen
from worker.team import ALL, Share


class Step(NamedTuple):
    """Of one batch, with the student's weights as they were. Nothing has left the device."""

    loss: Tensor
    """The total, a scalar; carries the gradient."""
    terms: dict[str, Tensor]
    """What the total is made of, before the weights; scalars by name."""
    clean: Tensor | None
    """The student's logits of x in train mode, (N, K); None where it does not see x."""
    adversarial: Tensor | None
    """Its logits of the adversarial example of x, (N, K); None for a clean recipe."""


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The parameters of all recipes; each reads its own."""

    attack: TrainingAttack
    weights: Weights
    trades_beta: float
    towards_confusing: bool
    """Whether PGD-AT and MART attack towards the most confusing class, instead of away from y."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Training images, and a way to get more of chosen classes."""

    x: Tensor
    """Augmented images (N, 3, H, W) in [0, 1], channels-last."""
    y: Tensor
    """Their classes, (N,) int64."""
    draw_prime: Callable[[Tensor], Tensor]
    """Classes (N,) -> augmented training images of these classes, (N, 3, H, W)."""
    generator: torch.Generator
    """Of the attacks' random starts, on x's device."""
    share: Share = ALL
    """Which images of the batch are here, where several processes have it among them: then `x`, `y`
    and what `draw_prime` gives are these, and the loss is their mean."""


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Student and teacher of one step.

    Raises:
        ValueError: a teacher in train mode.
    """

    student: Classifier
    teacher: Classifier | None
    """In eval mode, without gradients."""
    dtype: torch.dtype | None
    """What the networks' bodies are computed in, such as bfloat16; None: in their own type.
    Everything after the features is in the latter."""
    seeing: Callable[[Tensor], Outputs] | None = None
    """How the student, in train mode, sees images where others learn with it (`worker.team`)."""

    def __post_init__(self) -> None:
        if self.teacher is not None and self.teacher.training:
            raise ValueError("the teacher must be in eval mode")

    def attacked(self) -> Model:
        """The student in eval mode, with the weights it has now: what the step's attacks call."""
        return frozen(self.student, dtype=self.dtype)

    def student_sees(self, *images: Tensor) -> list[Outputs]:
        """The student in train mode on all images as one batch, so that its batch norms see all."""
        self.student.train()
        sees = self.seeing or self.student.outputs
        with self._precision(images[0].device):
            outputs = sees(torch.cat(images))
        return _split(outputs, len(images), images[0].dtype)

    def teacher_sees(self, *images: Tensor) -> list[Outputs]:
        """The teacher on each of `images`, (N, 3, H, W); no gradient.

        Raises ValueError where there is none.
        """
        if self.teacher is None:
            raise ValueError("this recipe needs a teacher")
        with torch.no_grad(), self._precision(images[0].device):
            outputs = self.teacher.outputs(torch.cat(images))
        return _split(outputs, len(images), images[0].dtype)

    def _precision(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype is not None)


Objective = Callable[[], Step]
"""The loss of a batch whose adversarial examples are made: each call takes the student's weights as
they are then, and carries their gradient."""
Recipe = Callable[[Networks, Batch, Parameters], Objective]
"""Makes the adversarial examples of a batch, with the weights of now."""


def _split(outputs: Outputs, parts: int, dtype: torch.dtype) -> list[Outputs]:
    """The outputs of a concatenated batch, part by part."""
    chunks = (tensor.to(dtype).chunk(parts) for tensor in outputs.parts)
    return [Outputs(*part) for part in zip(*chunks, strict=True)]
