"""How jobs attack: the chosen attack as arguments, and random starts that belong to an image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from numpy.random import SeedSequence
from torch import Tensor

from app.contracts.params import Attack, Goal, Method
from worker.agkd_bml.examples import most_confusing_class
from worker.attacks import Model
from worker.attacks.norms import uniform_in_ball
from worker.jobs.context import JobContext

_CHECK_EVERY_S = 0.25


class Walk(NamedTuple):
    """How an attack moves inside its budget. FGSM is one step as long as the budget, from x."""

    steps: int
    relative_step: float
    """Length of a step as a share of the budget."""
    random_start: bool


def walk_of(attack: Attack) -> Walk:
    if attack.method is Method.FGSM:
        return Walk(steps=1, relative_step=1.0, random_start=False)
    return Walk(attack.steps, attack.relative_step, attack.random_start)


def aim(attack: Attack, classes: Sequence[str], logits: Tensor, y: Tensor) -> Tensor:
    """The class each attack is about, (N,) int64: the true one y to leave, or the one to reach.

    Args:
        logits: of the attacked model on the clean images, (N, K).
        y: true classes, (N,).
    """
    if attack.goal is Goal.UNTARGETED:
        return y
    if attack.goal is Goal.MOST_CONFUSING:
        return most_confusing_class(logits, y)
    assert attack.target_class is not None
    return torch.full_like(y, classes.index(attack.target_class))


def unit_noise(like: Tensor, attack: Attack, seed: int, images: Sequence[int]) -> Tensor:
    """A point of the norm's unit ball for each image, (N, C, H, W), for `pgd`'s `noise`.

    It depends on the seed and the image's number alone: not on the model, the budget, the device,
    nor the other images in the batch, so that figures are compared on equal starts.

    Args:
        like: the batch (N, C, H, W), for shape, type and device.
        images: a number for each image of the batch.
    """
    one = torch.ones(1)
    shape = (1, *like.shape[1:])
    starts = []
    for image in images:
        state = int(SeedSequence((seed, image)).generate_state(1)[0])
        generator = torch.Generator().manual_seed(state)
        starts.append(uniform_in_ball(torch.empty(shape), one, attack.norm.value, generator))
    return torch.cat(starts).to(like)


def watched(context: JobContext, model: Model) -> Model:
    """The model, looking now and then whether the job must end: attacks call it at every step.

    Its calls raise Cancelled, Interrupted or LeaseLost.
    """
    last = time.monotonic()

    def call(x: Tensor) -> Tensor:
        nonlocal last
        now = time.monotonic()
        if now - last >= _CHECK_EVERY_S:
            context.check()
            last = now
        return model(x)

    return call
