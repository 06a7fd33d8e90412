"""Evaluations in figures that can be sorted and filtered: one row a model, written with its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, select

from app.contracts.attacks import Goal
from app.contracts.results import EvaluationSummary, ModelSummary
from app.store.db import Database
from app.store.tables import JobRow, MeasurementRow, ModelRow


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


@dataclass(frozen=True)
class Threat:
    """What figures have to share to stand in one chart: images, norm, budget and goal."""

    dataset_sha256: str
    norm: str
    epsilon: float
    goal: str


@dataclass(frozen=True)
class Placed:
    """A measurement with what is known of its model now."""

    row: MeasurementRow
    name: str
    """As the model is called now; as it was called then where it is gone."""
    recipe: str | None
    """None where it is not known, or the model is gone."""
    held: bool
    """Whether the lab still has the model."""


_SHOWN = (
    JobRow.deleted_at.is_(None),
    JobRow.archived_at.is_(None),
    MeasurementRow.goal != Goal.CLASS,
)
"""Evaluations towards one class leave its images out, and each towards another: none compares."""


def threats(database: Database) -> list[tuple[Threat, str, int]]:
    """Every threat model under which something was measured, with the dataset's name and the
    number of models; those of most models first.
    """
    columns = (
        MeasurementRow.dataset_sha256, MeasurementRow.norm, MeasurementRow.epsilon,
        MeasurementRow.goal,
    )  # fmt: skip
    models = func.count(MeasurementRow.model_id.distinct())
    query = (
        select(*columns, func.max(MeasurementRow.dataset_name), models)
        .join(JobRow, JobRow.id == MeasurementRow.job_id)
        .outerjoin(ModelRow, ModelRow.id == MeasurementRow.model_id)
        .where(*_SHOWN, ModelRow.archived_at.is_(None))
        .group_by(*columns)
        .order_by(models.desc(), func.max(MeasurementRow.at).desc())
    )
    with database.reading() as session:
        return [(Threat(*row[:4]), row[4], row[5]) for row in session.execute(query)]


def under(database: Database, threat: Threat, *, limit: int) -> list[Placed]:
    """The newest measurements under a threat model, without those of models in the archive."""
    same = (
        MeasurementRow.dataset_sha256 == threat.dataset_sha256,
        MeasurementRow.norm == threat.norm,
        MeasurementRow.epsilon == threat.epsilon,
        MeasurementRow.goal == threat.goal,
    )
    held = ModelRow.deleted_at.is_(None)
    query = (
        select(MeasurementRow, case((held, ModelRow.name)), case((held, ModelRow.recipe)))
        .join(JobRow, JobRow.id == MeasurementRow.job_id)
        .outerjoin(ModelRow, ModelRow.id == MeasurementRow.model_id)
        .where(*same, *_SHOWN, ModelRow.archived_at.is_(None))
        .order_by(MeasurementRow.at.desc(), MeasurementRow.position)
        .limit(limit)
    )
    with database.reading() as session:
        return [
            Placed(row, name or row.model_name, recipe, held=name is not None)
            for row, name, recipe in session.execute(query)
        ]
