"""A step of a recipe on small networks: who takes part, and with which numbers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from tests.plugins.recording import CLASSES, Recording, recording
from worker.recipes import (
    RECIPES,
    Batch,
    Networks,
    Objective,
    Parameters,
    Step,
    TrainingAttack,
    Weights,
)

N, SEED = 6, 5
NEEDS_TEACHER = ("rslad", "agkd", "agkd_bml")
TOWARDS_A_CLASS = ("sml", "agkd", "bml", "agkd_bml")
"""Recipes whose examples aim at the most confusing class, and that draw x'."""

PARAMETERS = Parameters(
    attack=TrainingAttack(eps=0.1, step_size=0.03, steps=4),
    weights=Weights(
        smoothing=0.5, mart_beta=6.0, agkd_weight=1.5, bml_weight=2.0, margin=0.03, mu=0.001
    ),
    trades_beta=5.0,
    towards_confusing=False,
)


def parameters(**changed: Any) -> Parameters:
    """Those above with some changed, whichever part they belong to."""
    attack = {k: v for k, v in changed.items() if hasattr(PARAMETERS.attack, k)}
    weights = {k: v for k, v in changed.items() if hasattr(PARAMETERS.weights, k)}
    rest = {k: v for k, v in changed.items() if k not in attack | weights}
    return replace(
        PARAMETERS,
        attack=replace(PARAMETERS.attack, **attack),
        weights=replace(PARAMETERS.weights, **weights),
        **rest,
    )


@dataclass
class ToyBatch:
    """Images, classes, a pool from which x' is drawn, and two networks of other weights."""

    x: Tensor
    y: Tensor
    pool: Tensor
    """One image of each class, (K, 3, 8, 8)."""
    student: Recording = field(default_factory=lambda: recording(0))
    teacher: Recording = field(default_factory=lambda: recording(1))
    asked: list[Tensor] = field(default_factory=list)
    """Which classes were asked for."""

    def draw_prime(self, y_prime: Tensor) -> Tensor:
        self.asked.append(y_prime)
        return self.pool[y_prime]

    def take(self, recipe: str, with_parameters: Parameters = PARAMETERS) -> Step:
        """A step with a teacher, whether the recipe looks at it or not."""
        return self.objective(recipe, with_parameters)()

    def objective(self, recipe: str, with_parameters: Parameters = PARAMETERS) -> Objective:
        """The same before the loss is computed."""
        generator = torch.Generator().manual_seed(SEED)
        return RECIPES[recipe](
            Networks(student=self.student, teacher=self.teacher, dtype=None),
            Batch(x=self.x, y=self.y, draw_prime=self.draw_prime, generator=generator),
            with_parameters,
        )


def toy_batch() -> ToyBatch:
    """Always the same; images in [0.01, 0.99], so that a little noise leaves them in [0, 1]."""
    generator = torch.Generator().manual_seed(7)
    size = (3, 8, 8)
    x = torch.rand(N, *size, generator=generator, dtype=torch.float64)
    y = torch.randint(CLASSES, (N,), generator=generator)
    pool = torch.rand(CLASSES, *size, generator=generator, dtype=torch.float64)
    return ToyBatch(0.01 + 0.98 * x, y, pool)
