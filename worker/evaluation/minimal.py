"""The smallest budget that breaks an image, by bisection between budgets that are known.

One run per halving takes all images together, each with a budget of its own in the middle of its
bracket: above it lies a budget that some example proves, below it one that the main attack could
not use. So the figure is an upper bound of the true one. Brackets are closed when they are as
narrow as an eighth of their upper end, but no wider than a quarter of 1/255 in Linf, and than 1/32
of the threat model's budget in L2 and L1; a sixteenth of that is narrow enough anywhere.
"""

from __future__ import annotations

import itertools
import math

from torch import Tensor

from app.contracts.params import EvaluateParams, Norm
from app.contracts.units import from_255
from worker.evaluation.outcomes import MAIN, ChunkState
from worker.evaluation.runs import run_all
from worker.evaluation.success import SuccessCheck
from worker.evaluation.target import AttackBatch

_LINF_RESOLUTION = from_255(0.25)
_RELATIVE_RESOLUTION = 1 / 32
_SHARE, _FINEST = 1 / 8, 1 / 16
_ROUNDING = 1e-6


def resolution(params: EvaluateParams) -> float:
    """How wide a bracket may be left, in units of [0, 1]."""
    if params.attack.norm is Norm.LINF:
        return _LINF_RESOLUTION
    return params.epsilon * _RELATIVE_RESOLUTION


def halvings(params: EvaluateParams) -> int:
    """How many the widest bracket needs for the resolution."""
    budgets = sorted({0.0, params.epsilon, *params.epsilons})
    widest = max(high - low for low, high in itertools.pairwise(budgets))
    return max(1, math.ceil(math.log2(widest / resolution(params)) - _ROUNDING))


def bisect(batch: AttackBatch, success_check: SuccessCheck, state: ChunkState) -> None:
    """Narrow every bracket of the chunk; `state.upper` is the figure.

    Each run starts where the one before left the image, be it broken or not.
    """
    params = batch.params
    coarse, start = resolution(params), batch.start
    rows = _wide(state, coarse)
    while len(rows) > 0:
        middle = (state.lower[rows] + state.upper[rows]) / 2
        runs = run_all(
            batch.take(rows, start),
            success_check,
            middle,
        )
        state.note(rows, runs.success, middle, by=MAIN, own=params.epsilon)
        state.withstood(rows[~runs.success.broken], middle[~runs.success.broken])
        start = start.index_copy(0, rows, runs.direction(batch.x[rows], middle))
        rows = _wide(state, coarse)


def _wide(state: ChunkState, coarse: float) -> Tensor:
    """Images whose bracket is still too wide: their places, (M,)."""
    allowed = (state.upper * _SHARE).clamp(coarse * _FINEST, coarse) * (1 + _ROUNDING)
    wide = state.upper.isfinite() & (state.upper - state.lower > allowed)
    return wide.nonzero().squeeze(1)
