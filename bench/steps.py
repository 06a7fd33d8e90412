"""One AGKD-BML training step, as the lab takes it and as research code writes it.

Both compute the loss of one batch and its gradient, with as many attack steps in both directions,
eps 8/255, from the same weights and images, on the CPU from the same random starts too. The
optimiser's update is left out, so that every repeat is the same step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from worker.agkd_bml.examples import most_confusing_class
from worker.agkd_bml.objective import attention_loss, classification_terms, metric_term, total_of
from worker.models import Classifier, Outputs, build
from worker.recipes import RECIPES, Batch, Networks, Parameters, TrainingAttack, Weights

CLASSES = 10
WEIGHTS = Weights(
    smoothing=0.5, mart_beta=6.0, agkd_weight=1.0, bml_weight=2.0, margin=0.03, mu=0.001
)

Losses = dict[str, Tensor]
"""The total, by the name "loss", and its terms before their weights; scalars."""
TakeStep = Callable[[int], Losses]
"""The seed of the random starts -> the losses; leaves the gradients in the student."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a step is of."""

    architecture: str = "wrn-10-2"
    images: int = 128
    steps: int = 10
    device: str = "cpu"

    @property
    def attack(self) -> TrainingAttack:
        return TrainingAttack(eps=8 / 255, step_size=2 / 255, steps=self.steps)

    def networks_and_images(
        self, memory_format: torch.memory_format
    ) -> tuple[Classifier, Classifier, Tensor]:
        """Student, teacher and a pool of images by class, (CLASSES, N, 3, 32, 32), always the
        same."""
        torch.manual_seed(0)
        student, teacher = (
            build(self.architecture, num_classes=CLASSES, mean=[0.5] * 3, std=[0.25] * 3)
            for _ in range(2)
        )
        pool = torch.rand(CLASSES, self.images, 3, 32, 32).to(self.device)
        for network in (student, teacher):
            network.to(self.device).to(memory_format=memory_format)
        return student, teacher.eval(), pool


class LabStep:
    """The lab's step: both attacks as one batch of 2N through a student with folded batch norms,
    no gradient for parameters in them, channels-last, convolutions in `dtype`."""

    def __init__(
        self,
        setting: Setting,
        dtype: torch.dtype | None,
        networks: type[Networks] = Networks,
    ) -> None:
        """`networks` may be a kind that computes the same in another way."""
        student, teacher, pool = setting.networks_and_images(torch.channels_last)
        self.student = student
        self.generator = torch.Generator(setting.device)
        self._teacher = teacher
        self._networks = networks(student=student, teacher=teacher, dtype=dtype)
        self._parameters = Parameters(
            attack=setting.attack, weights=WEIGHTS, trades_beta=6.0, towards_confusing=False
        )
        places = torch.arange(setting.images, device=setting.device)

        def images(classes: Tensor) -> Tensor:
            return pool[classes, places].contiguous(memory_format=torch.channels_last)

        y = places % CLASSES
        self._batch = Batch(x=images(y), y=y, draw_prime=images, generator=self.generator)

    def __call__(self, seed: int) -> Losses:
        self.generator.manual_seed(seed)
        return self.work()

    def compile_bodies(self) -> None:
        """Let torch.compile have the passes of student and teacher."""
        for network in (self.student, self._teacher):
            network.body.compile(dynamic=False)

    def work(self) -> Losses:
        """With the random starts that come next."""
        self.student.zero_grad()
        taken = RECIPES["agkd_bml"](self._networks, self._batch, self._parameters)()
        torch.autograd.backward(taken.loss)
        return {"loss": taken.loss.detach()} | {n: of.detach() for n, of in taken.terms.items()}


def plain_step(setting: Setting) -> TakeStep:
    """The plain step: float32, contiguous, x' picked image by image, the two attacks one after the
    other, each backwards through the whole graph, which computes every parameter's gradient to
    throw it away."""
    student, teacher, pool = setting.networks_and_images(torch.contiguous_format)
    attacks = setting.attack
    places = torch.arange(setting.images, device=setting.device)
    y = places % CLASSES
    x = pool[y, places]

    def attack(images: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        noise = 2 * torch.rand(images.shape, generator=generator, device=images.device) - 1
        x_adv = (images + attacks.eps * noise).clamp(0, 1)
        for _ in range(attacks.steps):
            x_adv.requires_grad_()
            student.zero_grad()
            torch.autograd.backward(F.cross_entropy(student(x_adv), target))
            assert x_adv.grad is not None
            moved = x_adv.detach() - attacks.step_size * x_adv.grad.sign()
            delta = (moved - images).clamp(-attacks.eps, attacks.eps)
            x_adv = (images + delta).clamp(0, 1)
        return x_adv

    def step(seed: int) -> Losses:
        generator = torch.Generator(setting.device).manual_seed(seed)
        student.eval()
        with torch.no_grad():
            y_prime = most_confusing_class(student(x), y)
        x_prime = torch.stack([pool[of, place] for place, of in enumerate(y_prime.tolist())])
        x_f, x_b = attack(x, y_prime, generator), attack(x_prime, y, generator)
        student.train()
        student.zero_grad()
        seen = student.outputs(torch.cat([x_f, x, x_b]))
        forward, clean, backward = map(Outputs, *(part.chunk(3) for part in seen.parts))
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


def operations(step: TakeStep) -> float:
    """Of the convolutions and matrix products that one step computes, backward passes as they are
    taken; a multiplication and an addition are two."""
    with FlopCounterMode(display=False) as counter:
        step(0)
    return float(counter.get_total_flops())
