"""The chosen attack as arguments: its norm, what it aims at, where it starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from numpy.random import SeedSequence
from torch import Tensor

from app.contracts.params import Attack, Goal
from worker.agkd_bml.examples import most_confusing_class
from worker.attacks import Norm
from worker.attacks.norms import uniform_in_ball


def norm_of(attack: Attack) -> Norm:
    """The norm as attacks name it."""
    return cast(Norm, attack.norm.value)


def aims(attack: Attack, classes: Sequence[str], logits: Tensor, y: Tensor) -> Tensor | None:
    """The classes to reach one after the other, (N, A) int64; None to leave the true one.

    Args:
        logits: of the attacked model on the clean images, (N, K).
        y: true classes, (N,).
    """
    if attack.goal is Goal.UNTARGETED:
        return None
    if attack.goal is Goal.MOST_CONFUSING:
        return most_confusing_class(logits, y)[:, None]
    if attack.goal is Goal.ALL_CLASSES:
        wrong = logits.scatter(1, y[:, None], -torch.inf)
        return wrong.argsort(dim=1, descending=True, stable=True)[:, :-1]  # (N, K) -> (N, K - 1)
    assert attack.target_class is not None
    return torch.full_like(y, classes.index(attack.target_class))[:, None]


def seed_of(*entropy: int) -> int:
    """One that follows from all these numbers, none of them negative, and from their order."""
    return int(SeedSequence(entropy).generate_state(1)[0])


def unit_noise(
    like: Tensor, norm: Norm, seed: int, images: Sequence[int], *, restart: int = 0
) -> Tensor:
    """A point of the norm's unit ball for each image, (N, C, H, W): eps times it is a start.

    It depends on the seed, the image's number and the number of the restart alone: not on the
    model, the budget, the device, nor the other images in the batch, so that figures are compared
    on equal starts.

    Args:
        like: the batch (N, C, H, W), for shape, type and device.
        images: a number for each image of the batch.
    """
    one = torch.ones(1, 1, 1, 1)
    shape = (1, *like.shape[1:])
    starts = []
    for image in images:
        entropy = (seed, image, restart) if restart else (seed, image)
        generator = torch.Generator().manual_seed(seed_of(*entropy))
        starts.append(uniform_in_ball(torch.empty(shape), one, norm, generator))
    return torch.cat(starts).to(like, memory_format=torch.preserve_format)
