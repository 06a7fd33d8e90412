"""What the recipes of Wang et al., ICCV 2021, share: examples of both directions."""

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
    )
    return Examples(x_f, x_b, x_prime)
