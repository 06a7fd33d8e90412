"""Small evaluations of the measured models."""

from __future__ import annotations

from typing import Any

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Attack, EvaluateParams
from app.contracts.results import EvaluationResult
from tests.jobs.measured import Measured
from tests.jobs.runs import run

IMAGES = 60


def small(measured: Measured, attack: Attack | None = None, **changes: Any) -> EvaluateParams:
    """PGD with 4 steps at a budget that breaks some images, and nothing beside."""
    params = {
        "models": (measured.teacher, measured.student),
        "dataset": measured.dataset_id,
        "images": IMAGES,
        "attack": attack or Attack(steps=4),
        "epsilon": 1 / 255,
        "epsilons": tuple(level / 255 for level in (0, 0.25, 0.5, 1, 2)),
        "step_counts": (1, 2, 4, 6),
        "minimal_epsilon": False,
        "attention": False,
        "seed": 5,
    }
    return EvaluateParams.model_validate(params | changes)


def evaluate(measured: Measured, params: EvaluateParams) -> EvaluationResult:
    """The result of a job that succeeds."""
    row = run(measured.lab, JobKind.EVALUATE, params)
    assert row.status == JobStatus.SUCCEEDED, row.failure
    return EvaluationResult.model_validate_json(
        measured.lab.files.result(row.result_name).read_bytes()
    )


def untimed(result: EvaluationResult) -> EvaluationResult:
    """Without what a clock says."""
    models = tuple(
        figures.model_copy(
            update={
                "attacks": tuple(row.model_copy(update={"seconds": 0}) for row in figures.attacks)
            }
        )
        for figures in result.models
    )
    still = result.environment.model_copy(update={"seconds": 0})
    return result.model_copy(update={"models": models, "environment": still})
