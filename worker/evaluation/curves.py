"""Accuracy against budget, steps, restarts and queries.

A point at a budget counts the images that nothing is known to break within it: an example found
with a smaller budget lies in every larger ball, whichever attack found it. So the images that are
still attacked become fewer from budget to budget, and the curve never rises.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from app.contracts.params import EvaluateParams
from app.contracts.results import Accuracy, CurvePoint
from worker.evaluation.attacks import restarts_of
from worker.evaluation.outcomes import MAIN, WRONG, ChunkState, RunRecord
from worker.evaluation.runs import run_all
from worker.evaluation.success import SuccessCheck
from worker.evaluation.target import AttackBatch

_QUERY_MARKS = (1, 2, 5)


def attack_at(
    batch: AttackBatch, success_check: SuccessCheck, state: ChunkState, eps: float, start: Tensor
) -> Tensor:
    """The main attack with one of several rising budgets, on images that nothing breaks yet.

    The first restart starts at `start`, a point of the unit ball for each image, (B, 3, H, W).
    Returned is where it left the images: with the next budget, it breaks more from there with the
    same steps, and sooner.
    """
    rows = state.unbroken_at(eps)
    if len(rows) == 0:
        return start
    runs = run_all(batch.take(rows, start), success_check, eps)
    state.note(rows, runs.success, eps, by=MAIN, own=batch.params.epsilon)
    state.withstood(rows[~runs.success.broken], eps)
    return start.index_copy(0, rows, runs.direction(batch.x[rows], eps))


def against_epsilon(record: RunRecord, params: EvaluateParams) -> tuple[CurvePoint, ...]:
    """Images that nothing breaks, at each budget asked for."""
    upper = record["upper"]
    return tuple(_point(eps, upper > eps) for eps in params.epsilons)


def against_steps(record: RunRecord, params: EvaluateParams) -> tuple[CurvePoint, ...]:
    """Under the main attack alone, with all its restarts, after so many steps; none where it takes
    none, or one."""
    if not params.attack.method.record.takes_steps:
        return ()
    first_break = record["first_break"]
    return tuple(_point(count, first_break > count) for count in params.step_counts)


def against_restarts(record: RunRecord, params: EvaluateParams) -> tuple[CurvePoint, ...]:
    """Under the main attack alone with so many restarts; none where it has but one."""
    if restarts_of(params.attack) == 1:
        return ()
    correct, withstood = record["broken_by"] != WRONG, record["restart"]
    return tuple(
        _point(count, correct & (withstood >= count))
        for count in range(1, restarts_of(params.attack) + 1)
    )


def against_queries(record: RunRecord, params: EvaluateParams) -> tuple[CurvePoint, ...]:
    """Under the attack that counts them alone, after so many queries; none where it did not run."""
    alone = (method for method in params.further if method.record.quoted_alone)
    if not any(method.record.query_curve for method in (params.attack.method, *alone)):
        return ()
    needed = record["queries"]
    return tuple(_point(count, needed > count) for count in query_counts(params.queries))


def query_counts(most: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, 50, ... and the last one itself."""
    marks = {mark * 10**power for power in range(6) for mark in _QUERY_MARKS}
    return (*sorted(mark for mark in marks if mark < most), most)


def _point(x: float, stands: np.ndarray) -> CurvePoint:
    return CurvePoint(x=x, accuracy=Accuracy.of(int(stands.sum()), len(stands)))
