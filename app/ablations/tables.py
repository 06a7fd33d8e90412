"""The table of an ablation, from its children's rows, models and results."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import select

from app.ablations.family import best_of, evaluation_id, training_id
from app.contracts.jobs import JobStatus
from app.contracts.params import AblationParams, Method
from app.contracts.results import (
    REPORTED,
    AblationChild,
    AblationResult,
    AblationRow,
    AblationTable,
    Accuracy,
    EvaluationResult,
    Light,
    Measure,
    ModelCard,
    ModelFigures,
    SeedValue,
    Spread,
    columns_of,
)
from app.store import job_queries
from app.store.db import Database
from app.store.files import Files
from app.store.tables import JobRow, ModelRow

_Figures = dict[Measure, Accuracy]


class _Job(NamedTuple):
    """What the table says of a training or an evaluation."""

    id: str
    status: str
    failure: dict[str, Any] | None
    result_file: str | None


@dataclass(frozen=True)
class _Known:
    """What the store has of an ablation's children."""

    jobs: Mapping[str, _Job]
    models: Mapping[str | None, ModelRow]
    """By training."""
    files: Files


def table(database: Database, files: Files, parent_id: str) -> AblationTable | None:
    """Rows and figures as they are known now; None where there is no such ablation.

    That of an ablation which succeeded is the one in its result, while that can be read.
    """
    parent = job_queries.get(database, parent_id)
    if parent is None:
        return None
    if parent.result_file is not None:
        with suppress(FileNotFoundError, ValueError):
            text = files.result(parent_id).read_bytes()
            return AblationResult.model_validate_json(text).table
    of_parent = JobRow.parent_id == parent_id
    columns = (JobRow.id, JobRow.status, JobRow.failure, JobRow.result_file)
    with database.reading() as session:
        rows = [_Job(*row) for row in session.execute(select(*columns).where(of_parent))]
        best = best_of(select(JobRow.id).where(of_parent))
        models = session.scalars(select(ModelRow).where(*best)).all()
    known = _Known({row.id: row for row in rows}, {row.job_id: row for row in models}, files)
    return _table(parent_id, AblationParams.model_validate(parent.params), known)


def _table(parent_id: str, params: AblationParams, known: _Known) -> AblationTable:
    columns = columns_of(params)
    order = [column.measure for column in columns]
    rows = []
    for number, row in enumerate(params.rows()):
        found = [_child(training_id(parent_id, number, s), s, known) for s in params.seeds]
        rows.append(
            AblationRow(
                recipe=row.recipe,
                changes=row.changes,
                label=params.label(row),
                children=tuple(child for child, _ in found),
                figures=_spreads(order, [(child.seed, figures) for child, figures in found]),
            )
        )
    return AblationTable(
        columns=columns,
        epsilon=params.training.epsilon,
        rows=tuple(rows),
        reported=tuple(each for each in REPORTED if each.recipe in params.recipes),
    )


def _child(job_id: str, seed: int, known: _Known) -> tuple[AblationChild, _Figures]:
    training, model = known.jobs[job_id], known.models.get(job_id)
    evaluation = known.jobs.get(evaluation_id(job_id))
    figures, light = _measured(known.files, evaluation)
    if model is not None:
        figures = {**figures, **_validated(ModelCard.model_validate(model.card))}
    failure = training.failure or (evaluation.failure if evaluation is not None else None)
    child = AblationChild(
        seed=seed,
        training=job_id,
        status=JobStatus(training.status),
        model=None if model is None else model.id,
        evaluation=None if evaluation is None else evaluation.id,
        evaluation_status=None if evaluation is None else JobStatus(evaluation.status),
        light=light,
        failure=f"{failure['detail']} {failure['hint']}".strip() if failure else None,
    )
    return child, figures


def _spreads(order: list[Measure], children: list[tuple[int, _Figures]]) -> dict[Measure, Spread]:
    """Over the seeds that have the figure; nothing where none has."""
    found = {
        measure: [
            SeedValue(seed=seed, accuracy=figures[measure])
            for seed, figures in children
            if measure in figures
        ]
        for measure in order
    }
    return {measure: Spread.of(values) for measure, values in found.items() if values}


def _validated(card: ModelCard) -> _Figures:
    found = {
        Measure.VALIDATION_CLEAN: card.validation_clean,
        Measure.VALIDATION_PGD: card.validation_robust,
    }
    return {measure: figure for measure, figure in found.items() if figure is not None}


def _measured(files: Files, evaluation: _Job | None) -> tuple[_Figures, Light | None]:
    """Nothing where the result is missing or damaged, so that the other figures are shown."""
    if evaluation is None or evaluation.result_file is None:
        return {}, None
    try:
        return _read(files.result(evaluation.id))
    except (FileNotFoundError, ValueError):
        return {}, None


@lru_cache(maxsize=4 * 200)
def _read(path: Path) -> tuple[_Figures, Light | None]:
    """Of a finished evaluation, whose file never changes. A page asks for all, every few seconds.

    Raises FileNotFoundError, and ValueError where it is damaged.
    """
    (model,) = EvaluationResult.model_validate_json(path.read_bytes()).models
    return figures_of(model), None if model.verdict is None else model.verdict.light


def figures_of(model: ModelFigures) -> _Figures:
    """What a table shows of a model that was measured by `AblationMeasure.of`."""
    alone = {row.method: row.alone for row in model.attacks if not row.part_of_autoattack}
    parts = [row.worst_case for row in model.attacks if row.part_of_autoattack]
    found = {
        Measure.CLEAN: model.clean,
        Measure.FGSM: alone.get(Method.FGSM),
        Measure.PGD: alone.get(Method.PGD),
        Measure.CW: alone.get(Method.CW),
        Measure.AUTOATTACK: parts[-1] if parts else None,
    }
    return {measure: figure for measure, figure in found.items() if figure is not None}
