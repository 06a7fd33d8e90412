"""The table of an ablation, from its children's rows, models and results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.ablations.family import evaluation_id, training_id
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import AblationParams, Method
from app.contracts.results import (
    AblationChild,
    AblationRow,
    AblationTable,
    Accuracy,
    EvaluationSummary,
    Light,
    Measure,
    ModelCard,
    ModelSummary,
    SeedValue,
    Spread,
    after_autoattack,
    columns_of,
    reported_in,
)
from app.store import catalogue, parents, summaries
from app.store.db import Database
from app.store.files import Files
from app.store.parents import Child
from app.store.tables import ModelRow

_Figures = dict[Measure, Accuracy]


@dataclass(frozen=True)
class _Known:
    """What the store has of an ablation's children."""

    jobs: Mapping[str, Child]
    models: Mapping[str, ModelRow]
    """By training."""
    summaries: Mapping[str, EvaluationSummary]
    """By evaluation."""


def table(
    database: Database, files: Files, parent_id: str, params: AblationParams
) -> AblationTable:
    """Rows and figures as they are known now."""
    children = parents.children(database, parent_id)
    evaluations = [child.id for child in children if child.kind == JobKind.EVALUATE]
    known = _Known(
        jobs={child.id: child for child in children},
        models=catalogue.best_models(database, parent_id),
        summaries=summaries.of_jobs(database, files, evaluations),
    )
    return _table(parent_id, params, known)


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
        reported=reported_in(params),
    )


def _child(job_id: str, seed: int, known: _Known) -> tuple[AblationChild, _Figures]:
    training, model = known.jobs[job_id], known.models.get(job_id)
    evaluation = known.jobs.get(evaluation_id(job_id))
    figures, light = _measured(known.summaries.get(evaluation_id(job_id)))
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


def _measured(summary: EvaluationSummary | None) -> tuple[_Figures, Light | None]:
    """Nothing where the result is missing or damaged, so that the other figures are shown."""
    if summary is None:
        return {}, None
    (model,) = summary.models
    return figures_of(model), None if model.verdict is None else model.verdict.light


def figures_of(model: ModelSummary) -> _Figures:
    """What a table shows of a model that was measured by `AblationMeasure.of`."""
    alone = {row.method: row.alone for row in model.attacks if not row.part_of_autoattack}
    found = {
        Measure.CLEAN: model.clean,
        Measure.FGSM: alone.get(Method.FGSM),
        Measure.PGD: alone.get(Method.PGD),
        Measure.CW: alone.get(Method.CW),
        Measure.AUTOATTACK: after_autoattack(model.attacks),
    }
    return {measure: figure for measure, figure in found.items() if figure is not None}
