"""Attacks of another kind, on images of a probe that the run could not break."""

from __future__ import annotations

import torch
from torch import Tensor

from worker.attacks import Model, Steps
from worker.attacks.hop_skip_jump import hop_skip_jump
from worker.attacks.noise import noise
from worker.attacks.square import square
from worker.evaluation.adaptive import Seeing, adaptive
from worker.evaluation.probing.stage import Craft, Stage
from worker.evaluation.verdict.evidence import Tried

NOISE_DRAWS = 10
SQUARE_QUERIES = 300
"""A few hundred find the weaknesses that gradients hide; thousands are for the figure itself."""
HARD_LABEL_IMAGES, HARD_LABEL_QUERIES = 16, 300
LEAST_STEPS, LARGEST_STEP = 20, 0.25
"""Of PGD where it stands for another attack: enough for one that takes a single step, too."""


def by_noise(stage: Stage, left: Tensor) -> Tried:
    """Random points of the ball, on the images at `left` (M,), as all of these."""
    generator = torch.Generator(stage.x.device).manual_seed(stage.seed)

    def craft(part: Tensor) -> Tensor:
        return noise(
            stage.model,
            stage.x[part],
            stage.y[part],
            eps=stage.eps,
            norm=stage.norm,
            draws=NOISE_DRAWS,
            generator=generator,
        )

    return _tried(stage, left, craft)


def by_square(stage: Stage, left: Tensor) -> Tried:
    """Few queries of Square."""

    def craft(part: Tensor) -> Tensor:
        found = square(
            stage.model,
            stage.x[part],
            stage.y[part],
            eps=stage.eps,
            norm=stage.norm,
            queries=SQUARE_QUERIES,
            seed=stage.seed,
        )
        return found.x_adv

    return _tried(stage, left, craft)


def by_hard_label(stage: Stage, left: Tensor) -> Tried | None:
    """Few queries of HopSkipJump on a few images; None in L1, where it is not defined."""
    if stage.norm == "l1":
        return None

    def craft(part: Tensor) -> Tensor:
        return hop_skip_jump(
            stage.model,
            stage.x[part],
            stage.y[part],
            eps=stage.eps,
            norm=stage.norm,
            queries=HARD_LABEL_QUERIES,
            seed=stage.seed,
        )

    return _tried(stage, left[:HARD_LABEL_IMAGES], craft)


def by_transfer(stage: Stage, left: Tensor, teacher: Model | None) -> Tried | None:
    """PGD on the teacher, its last iterates; None without a teacher, and in L1.

    An iterate that has just crossed the teacher's boundary would carry little.
    """
    if teacher is None or stage.norm == "l1":
        return None
    return _tried(stage, left, stage.ended(teacher, _plain(stage.how)))


def by_adaptive(
    stage: Stage, left: Tensor, seeing: Seeing | None, reference: Seeing | None
) -> Tried | None:
    """The attack on attention; None for a model that does not show its features, and in L1."""
    if seeing is None or stage.norm == "l1":
        return None
    how = _plain(stage.how)

    def craft(part: Tensor) -> Tensor:
        found = adaptive(
            seeing,
            stage.x[part],
            stage.y[part],
            eps=stage.eps,
            step_size=how.relative_step * stage.eps,
            steps=how.steps,
            norm=stage.norm,
            noise=stage.start[part],
            reference=reference,
        )
        return found.x_adv

    return _tried(stage, left, craft)


def _plain(how: Steps) -> Steps:
    """PGD in place of an attack that may take a single step."""
    steps, size = max(how.steps, LEAST_STEPS), min(how.relative_step, LARGEST_STEP)
    return Steps("pgd", steps, size, random_start=True)


def _tried(stage: Stage, left: Tensor, craft: Craft) -> Tried:
    return Tried(attacked=len(left), broken=int(stage.broken(left, craft, stage.eps).sum()))
