"""The smallest budget that breaks an image, by bisection between budgets that are known.

One walk per halving takes all images together, each with a budget of its own in the middle of its
bracket: above it lies a budget that some example proves, below it one that the main attack could
not use. So the figure is an upper bound of the true one, and as close to the main attack's own as
the resolution says: a quarter of 1/255 in Linf, 1/32 of the threat model's budget in L2 and L1.
"""

from __future__ import annotations

import itertools
import math

from torch import Tensor

from app.contracts.params import EvaluateParams, Norm
from app.contracts.units import from_255
from worker.evaluation.arguments import steps_of
from worker.evaluation.outcomes import ChunkState
from worker.evaluation.referee import Referee
from worker.evaluation.runs import run_all
from worker.evaluation.subject import Scene

_LINF_RESOLUTION = from_255(0.25)
_RELATIVE_RESOLUTION = 1 / 32


def resolution(params: EvaluateParams) -> float:
    """How close the two ends of a bracket come, in units of [0, 1]."""
    if params.attack.norm is Norm.LINF:
        return _LINF_RESOLUTION
    return params.epsilon * _RELATIVE_RESOLUTION


def halvings(params: EvaluateParams) -> int:
    """How many the widest bracket needs at most."""
    budgets = sorted({0.0, params.epsilon, *params.epsilons})
    widest = max(high - low for low, high in itertools.pairwise(budgets))
    return max(0, math.ceil(math.log2(widest / resolution(params)) - 1e-6))


def bisect(scene: Scene, referee: Referee, state: ChunkState) -> None:
    """Narrow every bracket of the chunk to the resolution; `state.upper` is the figure."""
    how, params = steps_of(scene.params.attack), scene.params
    for _ in range(halvings(params)):
        rows = _open(state, resolution(params))
        if len(rows) == 0:
            return
        middle = (state.lower[rows] + state.upper[rows]) / 2
        runs = run_all(
            scene.take(rows),
            referee,
            middle,
            how=how,
            lengths=(how.steps,),
            restarts=params.attack.restarts,
        )
        state.note(rows, runs.ruling, middle, by=None)
        state.withstood(rows[~runs.ruling.broken], middle[~runs.ruling.broken])


def _open(state: ChunkState, resolution: float) -> Tensor:
    """Images whose bracket is wider than the resolution: their places, (M,)."""
    # Halving leaves a width that rounding may put a hair above the resolution.
    wide = state.upper.isfinite() & (state.upper - state.lower > resolution * (1 + 1e-9))
    return wide.nonzero().squeeze(1)
