"""Attacks of another kind, on images of a probe that the run could not break."""

from __future__ import annotations

from torch import Tensor

from worker.attacks import Model, Steps
from worker.attacks.hop_skip_jump import Answered, hop_skip_jump
from worker.attacks.iterative import PGD
from worker.attacks.noise import noise
from worker.attacks.square import square
from worker.evaluation.adaptive import Seeing, adaptive
from worker.evaluation.probing.probe_batch import Asking, Craft, ProbeBatch
from worker.evaluation.verdict.evidence import Tried

NOISE_DRAWS = 10
SQUARE_QUERIES = 300
"""A few hundred find the weaknesses that gradients hide; thousands are for the figure itself."""
HARD_LABEL_IMAGES, HARD_LABEL_QUERIES = 16, 300
LEAST_STEPS, LARGEST_STEP = 20, 0.25
"""Of PGD where it stands for another attack: enough for one that takes a single step, too."""


def by_noise(batch: Asking, left: Tensor) -> Tried:
    """Random points of the ball, on the images at `left` (M,), as all of these."""

    def craft(part: Tensor) -> Tensor:
        return noise(
            batch.model,
            batch.x[part],
            batch.y[part],
            eps=batch.eps,
            norm=batch.norm,
            draws=NOISE_DRAWS,
            seed=batch.seed,
            seeds=batch.seeds(part),
        )

    return _tried(batch, left, craft)


def by_square(batch: Asking, left: Tensor) -> Tried:
    """Few queries of Square."""

    def craft(part: Tensor) -> Tensor:
        found = square(
            batch.model,
            batch.x[part],
            batch.y[part],
            eps=batch.eps,
            norm=batch.norm,
            queries=SQUARE_QUERIES,
            seed=batch.seed,
            seeds=batch.seeds(part),
        )
        return found.x_adv

    return _tried(batch, left, craft)


def by_hard_label(batch: Asking, left: Tensor) -> Tried | None:
    """Few queries of HopSkipJump on a few images; None in L1, where it is not defined."""
    if batch.norm == "l1":
        return None
    left = left[:HARD_LABEL_IMAGES]
    starts = Answered(batch.x[left], batch.answers(left))

    def craft(part: Tensor) -> Tensor:
        found = hop_skip_jump(
            batch.model,
            batch.x[part],
            batch.y[part],
            eps=batch.eps,
            norm=batch.norm,
            queries=HARD_LABEL_QUERIES,
            seed=batch.seed,
            seeds=batch.seeds(part),
            starts=starts,
        )
        return found.x_adv

    return _tried(batch, left, craft)


def by_transfer(batch: ProbeBatch, left: Tensor, teacher: Model | None) -> Tried | None:
    """PGD on the teacher, its last iterates; None without a teacher, and in L1.

    An iterate that has just crossed the teacher's boundary would carry little.
    """
    if teacher is None or batch.norm == "l1":
        return None
    return _tried(batch, left, batch.last_iterates(teacher, _plain(batch.how)))


def by_adaptive(
    batch: ProbeBatch, left: Tensor, seeing: Seeing | None, reference: Seeing | None
) -> Tried | None:
    """The attack on attention; None for a model that does not show its features, and in L1."""
    if seeing is None or batch.norm == "l1":
        return None
    how = _plain(batch.how)

    def craft(part: Tensor) -> Tensor:
        found = adaptive(
            seeing,
            batch.x[part],
            batch.y[part],
            eps=batch.eps,
            step_size=how.relative_step * batch.eps,
            steps=how.steps,
            norm=batch.norm,
            noise=batch.start[part],
            reference=reference,
        )
        return found.x_adv

    return _tried(batch, left, craft)


def _plain(how: Steps) -> Steps:
    """PGD in place of an attack that may take a single step."""
    steps, size = max(how.steps, LEAST_STEPS), min(how.relative_step, LARGEST_STEP)
    return Steps(PGD, steps, size, random_start=True)


def _tried(batch: Asking, left: Tensor, craft: Craft) -> Tried:
    return Tried(attacked=len(left), broken=int(batch.broken(left, craft, batch.eps).sum()))
