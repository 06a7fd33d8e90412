"""Evaluations in figures that can be sorted and filtered: one row a model, written with its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.contracts.results import EvaluationSummary, ModelSummary
from app.store.tables import MeasurementRow, ModelRow


def of_evaluation(job_id: str, at: float, summary: EvaluationSummary) -> list[MeasurementRow]:
    """The rows of an evaluation that was over at `at`, in the order of its models."""
    return [
        _row(job_id, at, position, summary, model) for position, model in enumerate(summary.models)
    ]


def _row(
    job_id: str, at: float, position: int, summary: EvaluationSummary, model: ModelSummary
) -> MeasurementRow:
    attack = summary.params.attack
    return MeasurementRow(
        job_id=job_id,
        position=position,
        at=at,
        model_id=model.model,
        model_name=model.name,
        dataset_sha256=summary.dataset.sha256,
        dataset_name=summary.dataset.name,
        norm=attack.norm,
        epsilon=summary.params.epsilon,
        goal=attack.goal,
        images=model.clean.n,
        clean=model.clean.correct,
        robust=None if model.robust is None else model.robust.correct,
        autoattack=_after_autoattack(model),
        light=None if model.verdict is None else model.verdict.light,
    )


def _after_autoattack(model: ModelSummary) -> int | None:
    parts = [row.worst_case.correct for row in model.attacks if row.part_of_autoattack]
    return parts[-1] if parts else None


def best_of(rows: Sequence[MeasurementRow]) -> dict[str, float | None]:
    """What an evaluation's own row shows of these: the shares of the most robust model."""
    best = max(rows, key=lambda row: -1 if row.robust is None else row.robust)
    shares = {name: getattr(best, name) for name in ("clean", "robust", "autoattack")}
    return {name: n if n is None else n / best.images for name, n in shares.items()}


def best_trained(rows: Sequence[Any]) -> dict[str, float | None]:
    """What a training's own row shows of the models among the rows that it leaves."""
    for row in rows:
        if isinstance(row, ModelRow) and row.card["kept"] == "best":
            figures = {name: row.card[f"validation_{name}"] for name in ("clean", "robust")}
            return {name: each and each["value"] for name, each in figures.items()}
    return {}
