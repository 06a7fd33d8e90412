"""The chosen attack as arguments: how it moves, what it aims at, where it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from numpy.random import SeedSequence
from torch import Tensor

from app.contracts.params import Attack, Goal, Method
from worker.agkd_bml.examples import most_confusing_class
from worker.attacks import Norm, Steps, iterative
from worker.attacks.iterative import IterativeAttack
from worker.attacks.norms import uniform_in_ball

ITERATIVE_ATTACKS: Mapping[Method, IterativeAttack] = {
    Method.FGSM: iterative.PGD,
    Method.BIM: iterative.PGD,
    Method.PGD: iterative.PGD,
    Method.MI_FGSM: iterative.MI_FGSM,
    Method.CW: iterative.CW,
    Method.APGD_CE: iterative.APGD_CE,
    Method.APGD_DLR: iterative.APGD_DLR,
}
"""What those climb that can be the first attack; where they start and how often they step stands in
their records."""


def norm_of(attack: Attack) -> Norm:
    """The norm as attacks name it."""
    return cast(Norm, attack.norm.value)


def steps_of(attack: Attack, method: Method | None = None) -> Steps:
    """How the attack moves, or another iterative method with its parameters."""
    method = method or attack.method
    record, iterative = method.record, ITERATIVE_ATTACKS[method]
    if record.one_step:
        return Steps(iterative, steps=1, relative_step=1.0, random_start=False)
    starts = record.random_start and attack.random_start
    return Steps(iterative, attack.steps, attack.relative_step, starts)


def restarts_of(attack: Attack) -> int:
    """How many starts there are: all are the same where none is random."""
    return attack.restarts if steps_of(attack).random_start else 1


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
        state = int(SeedSequence(entropy).generate_state(1)[0])
        generator = torch.Generator().manual_seed(state)
        starts.append(uniform_in_ball(torch.empty(shape), one, norm, generator))
    return torch.cat(starts).to(like, memory_format=torch.preserve_format)
