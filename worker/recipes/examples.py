"""The adversarial examples that several recipes train on: away from a class, and towards one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from worker.agkd_bml.examples import forward_and_backward_examples, most_confusing_class
from worker.recipes.base import Batch, Networks, Parameters


class Examples(NamedTuple):
    """Images (N, 3, H, W) of both directions."""

    x_f: Tensor
    """Forward: from x towards the most confusing class y'."""
    x_b: Tensor
    """Backward: from x' towards the class of x."""
    x_prime: Tensor
    """x': training images of the classes y'."""


def chosen_example(networks: Networks, batch: Batch, parameters: Parameters) -> Tensor:
    """Images attacked as the parameters say, (N, 3, H, W) in [0, 1]: away from their own class, or
    towards the most confusing one."""
    if parameters.towards_confusing:
        return forward_example(networks, batch, parameters)[0]
    return parameters.attack.example(
        networks.attacked(),
        batch.x,
        batch.y,
        targeted=False,
        generator=batch.generator,
        share=batch.share,
    )


def forward_example(
    networks: Networks, batch: Batch, parameters: Parameters
) -> tuple[Tensor, Tensor]:
    """x_f, from x towards the most confusing class y', (N, 3, H, W); and y', (N,)."""
    student = networks.attacked()
    with torch.no_grad():
        y_prime = most_confusing_class(student(batch.x), batch.y)
    x_f = parameters.attack.example(
        student, batch.x, y_prime, targeted=True, generator=batch.generator, share=batch.share
    )
    return x_f, y_prime


def both_directions(networks: Networks, batch: Batch, parameters: Parameters) -> Examples:
    """Forward and backward examples, in one attack on 2N images."""
    student = networks.attacked()
    with torch.no_grad():
        y_prime = most_confusing_class(student(batch.x), batch.y)
    x_prime = batch.draw_prime(y_prime)
    x_f, x_b = forward_and_backward_examples(
        student,
        batch.x,
        batch.y,
        x_prime,
        y_prime,
        attack=parameters.attack,
        generator=batch.generator,
        share=batch.share,
    )
    return Examples(x_f, x_b, x_prime)
