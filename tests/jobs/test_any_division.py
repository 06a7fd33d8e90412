"""Figures do not depend on how the images of an evaluation are divided, bit for bit on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from app.contracts.params import Attack, EvaluateParams, Method, Norm
from app.contracts.results import EvaluationResult
from tests.jobs.evaluations import evaluate, small, untimed
from tests.jobs.measured import Measured

LINF = (
    Method.CW, Method.APGD_CE, Method.MALT, Method.APGD_T, Method.FAB_T, Method.SQUARE,
    Method.DEEPFOOL, Method.TRANSFER, Method.FEATURE, Method.ADAPTIVE, Method.NOISE,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def figures(measured: Measured, params: EvaluateParams, size: int) -> EvaluationResult:
    """Without the size of the batches, and what they cost."""
    found = untimed(evaluate(measured, params.model_copy(update={"batch_size": size})))
    return found.model_copy(update={"params": params, "pace": None})


def differences(one: EvaluationResult, other: EvaluationResult) -> list[str]:
    """Where two results differ."""
    found = zip(leaves(one.model_dump()), leaves(other.model_dump()), strict=True)
    return [f"{a} {b}"[:200] for a, b in found if a != b]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and text of a result, by its place."""
    if isinstance(value, dict | list | tuple):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(each, f"{path}.{key}")
    else:
        yield path, value


def everything(measured: Measured, norm: Norm) -> EvaluateParams:
    """Whatever draws or keeps something, on images that some attacks break and some do not."""
    linf = norm is Norm.LINF
    further = LINF if linf else (Method.SQUARE, Method.NOISE)
    return small(
        measured, Attack(steps=2, restarts=2, norm=norm), images=10, queries=12, further=further,
        models=(measured.student,), sources=(measured.teacher,) if linf else (),
        epsilon=(0.2 if linf else 20) / 255,
        epsilons=(0, 0.1 / 255), minimal_epsilon=True, attention=True, corruptions=True,
        embedding=linf, keep_adversarial=6,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.trains
@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_batches_of_any_size_give_the_same_figures(measured: Measured, norm: Norm) -> None:
    params = everything(measured, norm)
    one, seven, all_at_once = (figures(measured, params, size) for size in (1, 7, 64))
    assert differences(seven, all_at_once) == []
    assert differences(one, all_at_once) == []
    broken_by = {n for model in one.models for n in model.outcomes.broken_by}
    assert -1 in broken_by, "some images stand, so that every attack has work"
