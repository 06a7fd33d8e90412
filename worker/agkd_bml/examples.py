"""The two adversarial examples of a training step: towards the most confusing class, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.attacks import Model, pgd
from worker.attacks.norms import uniform_in_ball
from worker.team import ALL, Share


def most_confusing_class(logits: Tensor, y: Tensor) -> Tensor:
    """y' = argmax over c != y of logits_c, (N,) int64; logits (N, K), true classes y (N,)."""
    return logits.scatter(1, y[:, None], -torch.inf).argmax(dim=1)


@dataclass(frozen=True, kw_only=True)
class TrainingAttack:
    """The Linf PGD, with a random start, that makes a step's examples."""

    eps: float
    """Radius of the ball, in units of [0, 1]."""
    step_size: float
    """Length of a step, in units of [0, 1]."""
    steps: int
    """At least 1."""

    def example(
        self,
        model: Model,
        x: Tensor,
        classes: Tensor,
        *,
        targeted: bool,
        generator: torch.Generator,
        share: Share = ALL,
    ) -> Tensor:
        """x attacked away from `classes` (N,), or towards them if targeted; (N, 3, H, W).

        `share`: which of the random starts, drawn for a whole batch, are for the images here.
        Raises ValueError for arguments that `pgd` refuses.
        """

        def starts(count: int) -> Tensor:
            every = x[:1].expand(count, *x.shape[1:])
            return uniform_in_ball(every, x.new_ones(1, 1, 1, 1), "linf", generator)

        return pgd(
            model,
            x,
            classes,
            eps=self.eps,
            step_size=self.step_size,
            steps=self.steps,
            norm="linf",
            targeted=targeted,
            random_start=True,
            generator=None,
            noise=share.drawn(len(x), starts),
        )


def forward_and_backward_examples(
    student: Model,
    x: Tensor,
    y: Tensor,
    x_prime: Tensor,
    y_prime: Tensor,
    *,
    attack: TrainingAttack,
    generator: torch.Generator,
    share: Share = ALL,
) -> tuple[Tensor, Tensor]:
    """Forward example x_f: from x towards y'. Backward example x_b: from x' towards y.

    Both come from one attack on a batch of 2N. The student is called as it is: put it in eval
    mode first.

    Args:
        x, y: images (N, 3, H, W) in [0, 1] and their classes (N,).
        x_prime, y_prime: images of the most confusing classes, and these classes.
        generator: of the random starts, on x's device.
        share: which of the starts are for the images here.

    Returns:
        x_f and x_b, (N, 3, H, W) each.

    Raises:
        ValueError: arguments that `pgd` refuses.
    """
    images, towards = torch.cat([x, x_prime]), torch.cat([y_prime, y])
    examples = attack.example(
        student, images, towards, targeted=True, generator=generator, share=share
    )
    x_f, x_b = examples.chunk(2)
    return x_f, x_b
