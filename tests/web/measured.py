"""Evaluations that a worker has settled, so that lists and the board know their figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import update

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.results import Accuracy, EvaluationSummary, Lineage, VerdictSummary
from app.contracts.results.verdict import Light
from app.services.lab import Lab
from app.store import jobs as store
from app.store.measurements import note_standing
from app.store.tables import JobRow, MeasurementRow
from tests.plugins.families import take
from tests.web.examples import evaluation

PETS = Lineage(id="d" * 32, name="Pets", sha256="0" * 64)


def add_measured(
    lab: Lab,
    models: Sequence[tuple[str, str, int, int]],
    *,
    title: str = "Evaluate",
    at: float | None = None,
    dataset: Lineage = PETS,
    light: Light = Light.GREEN,
    n: int = 100,
    **params: Any,
) -> str:
    """Models by id, name and how many images of `n` are right, clean and attacked."""
    result = evaluation([(model, name) for model, name, *_ in models], **params)
    summary = EvaluationSummary.of(result)
    measured = tuple(
        each.model_copy(update={
            "clean": Accuracy.of(clean, n), "robust": Accuracy.of(robust, n),
            "verdict": VerdictSummary(light=light, sentence="As it is."),
        })
        for each, (*_, clean, robust) in zip(summary.models, models, strict=True)
    )  # fmt: skip
    summary = summary.model_copy(update={"models": measured, "dataset": dataset, "images": n})
    row = store.queued(JobKind.EVALUATE, title, result.params)
    store.add(lab.database, row)
    file = lab.files.write_result(row.id, result)
    claim = take(lab.database, row.id)
    store.settle(lab.database, claim, JobStatus.SUCCEEDED, result_file=file, summary=summary)
    if at is not None:
        with lab.database.writing() as session:
            session.execute(
                update(MeasurementRow).where(MeasurementRow.job_id == row.id).values(at=at)
            )
            session.execute(update(JobRow).where(JobRow.id == row.id).values(finished_at=at))
            note_standing(session, MeasurementRow.job_id == row.id)
    return row.id
