"""One AGKD-BML training step, as the lab takes it and as research code writes it.

Both compute the loss of one batch of 128 and its gradient, WRN-10-2, 10 + 10 attack steps, eps
8/255, from the same weights, images and random starts. The optimiser's update is left out, so that
every repeat is the same step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from worker.agkd_bml.examples import most_confusing_class
from worker.agkd_bml.objective import attention_loss, classification_terms, metric_term, total_of
from worker.models import Classifier, Outputs, build
from worker.recipes import RECIPES, Batch, Networks, Parameters, TrainingAttack, Weights

N, CLASSES = 128, 10
ATTACK = TrainingAttack(eps=8 / 255, step_size=2 / 255, steps=10)
WEIGHTS = Weights(
    smoothing=0.5, mart_beta=6.0, agkd_weight=1.0, bml_weight=2.0, margin=0.03, mu=0.001
)

Losses = dict[str, Tensor]
"""The total, by the name "loss", and its terms before their weights; scalars."""
TakeStep = Callable[[int], Losses]
"""The seed of the random starts -> the losses; leaves the gradients in the student."""


def lab_step(dtype: torch.dtype | None) -> TakeStep:
    """The lab's step: both attacks as one batch of 2N through a student with folded batch norms,
    no gradient for parameters in them, channels-last, convolutions in `dtype`."""
    student, teacher, pool = _networks_and_images(torch.channels_last)
    networks = Networks(student=student, teacher=teacher, dtype=dtype)
    parameters = Parameters(
        attack=ATTACK, weights=WEIGHTS, trades_beta=6.0, towards_confusing=False
    )
    y = torch.arange(N) % CLASSES

    def images(classes: Tensor) -> Tensor:
        return pool[classes, torch.arange(N)].contiguous(memory_format=torch.channels_last)

    x = images(y)

    def step(seed: int) -> Losses:
        student.zero_grad()
        generator = torch.Generator().manual_seed(seed)
        batch = Batch(x=x, y=y, draw_prime=images, generator=generator)
        taken = RECIPES["agkd_bml"](networks, batch, parameters)()
        torch.autograd.backward(taken.loss)
        return {"loss": taken.loss} | taken.terms

    return step


def plain_step() -> TakeStep:
    """The plain step: float32, contiguous, x' picked image by image, the two attacks one after the
    other, each backwards through the whole graph, which computes every parameter's gradient to
    throw it away."""
    student, teacher, pool = _networks_and_images(torch.contiguous_format)
    y = torch.arange(N) % CLASSES
    x = pool[y, torch.arange(N)]

    def attack(images: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        noise = 2 * torch.rand(images.shape, generator=generator) - 1
        x_adv = (images + ATTACK.eps * noise).clamp(0, 1)
        for _ in range(ATTACK.steps):
            x_adv.requires_grad_()
            student.zero_grad()
            torch.autograd.backward(F.cross_entropy(student(x_adv), target))
            assert x_adv.grad is not None
            moved = x_adv.detach() - ATTACK.step_size * x_adv.grad.sign()
            delta = (moved - images).clamp(-ATTACK.eps, ATTACK.eps)
            x_adv = (images + delta).clamp(0, 1)
        return x_adv

    def step(seed: int) -> Losses:
        generator = torch.Generator().manual_seed(seed)
        student.eval()
        with torch.no_grad():
            y_prime = most_confusing_class(student(x), y)
        x_prime = torch.stack([pool[of, place] for place, of in enumerate(y_prime.tolist())])
        x_f, x_b = attack(x, y_prime, generator), attack(x_prime, y, generator)
        student.train()
        student.zero_grad()
        seen = student.outputs(torch.cat([x_f, x, x_b]))
        forward, clean, backward = map(Outputs, *(part.chunk(3) for part in seen))
        with torch.no_grad():
            of_x, of_x_prime = teacher.outputs(torch.cat([x, x_prime])).features.chunk(2)
        terms = classification_terms(forward, clean, y, WEIGHTS)
        attention = attention_loss(forward.features, of_x)
        attention = attention + attention_loss(backward.features, of_x_prime)
        metric = metric_term(forward, clean, backward, WEIGHTS)
        loss = total_of(terms) + WEIGHTS.agkd_weight * attention + WEIGHTS.bml_weight * metric
        torch.autograd.backward(loss)
        return {"loss": loss} | terms | {"agkd": attention, "bml": metric}

    return step


def _networks_and_images(
    memory_format: torch.memory_format,
) -> tuple[Classifier, Classifier, Tensor]:
    """Student, teacher and a pool of images by class, (CLASSES, N, 3, 32, 32), always the same."""
    torch.manual_seed(0)
    student, teacher = (
        build("wrn-10-2", num_classes=CLASSES, mean=[0.5] * 3, std=[0.25] * 3) for _ in range(2)
    )
    pool = torch.rand(CLASSES, N, 3, 32, 32)
    student.to(memory_format=memory_format)
    return student, teacher.eval().to(memory_format=memory_format), pool
