"""One training step of AGKD-BML, from a batch to its loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from worker.agkd_bml.examples import (
    TrainingAttack,
    forward_and_backward_examples,
    most_confusing_class,
)
from worker.agkd_bml.objective import Losses, Weights, agkd_bml_losses
from worker.models.base import Classifier, Outputs


class StepResult(NamedTuple):
    """Of one batch. Nothing here has been moved off the device."""

    losses: Losses
    """`losses.total` carries the gradient."""
    adversarial_correct: Tensor
    """How many forward examples the student, in train mode, still gives their true class: int64
    scalar."""


def agkd_bml_step(
    student: Classifier,
    teacher: Classifier,
    x: Tensor,
    y: Tensor,
    draw_prime: Callable[[Tensor], Tensor],
    *,
    attack: TrainingAttack,
    weights: Weights,
    generator: torch.Generator,
) -> StepResult:
    """The loss of a batch of N images, ready for `losses.total.backward()`.

    The student attacks in eval mode and is left in train mode, in which it sees x_f, x and x_b as
    one batch of 3N. The teacher gets no gradient. All images are in [0, 1] and in one memory
    format, best channels-last, like the models.

    Args:
        x, y: augmented training images (N, 3, H, W) and their classes (N,).
        draw_prime: classes (N,) -> training images of these classes, (N, 3, H, W), augmented.
        generator: of the random starts, on x's device.

    Raises:
        ValueError: the teacher is in train mode; arguments that `pgd` refuses.
    """
    if teacher.training:
        raise ValueError("the teacher must be in eval mode")
    student.eval()
    with torch.no_grad():
        y_prime = most_confusing_class(student(x), y)
    x_prime = draw_prime(y_prime)
    x_f, x_b = forward_and_backward_examples(
        student, x, y, x_prime, y_prime, attack=attack, generator=generator
    )
    student.train()
    forward, clean, backward = _split(student.outputs(torch.cat([x_f, x, x_b])), 3)
    with torch.no_grad():
        of_x, of_x_prime = _split(teacher.outputs(torch.cat([x, x_prime])), 2)
    losses = agkd_bml_losses(
        student_forward=forward,
        student_clean=clean,
        student_backward=backward,
        teacher_clean=of_x.features,
        teacher_prime=of_x_prime.features,
        y=y,
        weights=weights,
    )
    correct = (forward.logits.detach().argmax(dim=1) == y).sum()
    return StepResult(losses, correct)


def _split(outputs: Outputs, parts: int) -> list[Outputs]:
    """The outputs of a concatenated batch, part by part."""
    chunks = (tensor.chunk(parts) for tensor in outputs)
    return [Outputs(*part) for part in zip(*chunks, strict=True)]
