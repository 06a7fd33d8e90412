"""Evaluations in short, kept in their jobs' rows: lists and overviews read no result for them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import delete, select, update

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.results import EvaluationResult, EvaluationSummary
from app.contracts.stored import understood
from app.store import measurements
from app.store.db import Database
from app.store.files import Files
from app.store.tables import JobRow, MeasurementRow


def of_jobs(database: Database, files: Files, ids: Collection[str]) -> dict[str, EvaluationSummary]:
    """The evaluations among these jobs that left a result, in one query.

    What a version of the lab left that kept no summary, or another one, is summed up where it is
    first asked for. A result that is gone or damaged is left out.
    """
    if not ids:
        return {}
    left = (
        JobRow.id.in_(ids),
        JobRow.kind == JobKind.EVALUATE,
        JobRow.result_file.is_not(None),
    )
    with database.reading() as session:
        query = select(JobRow.id, JobRow.result_name, JobRow.summary).where(*left)
        rows = session.execute(query).all()
    kept = {job_id: understood(EvaluationSummary, body) for job_id, _, body in rows}
    anew = {job_id: name for job_id, name, _ in rows if kept[job_id] is None}
    kept |= {
        job_id: _summed_up(database, job_id, files.here(files.result(name)))
        for job_id, name in anew.items()
    }
    return {job_id: summary for job_id, summary in kept.items() if summary is not None}


def not_measured(database: Database) -> list[str]:
    """Evaluations of versions of the lab that left no measurements, the newest first."""
    left = (
        JobRow.kind == JobKind.EVALUATE,
        JobRow.status == JobStatus.SUCCEEDED,
        JobRow.id.not_in(select(MeasurementRow.job_id)),
    )
    with database.reading() as session:
        newest = select(JobRow.id).where(*left).order_by(JobRow.created_at.desc())
        return list(session.scalars(newest))


def _summed_up(database: Database, job_id: str, file: Path) -> EvaluationSummary | None:
    """Of the result, kept for the next time; None where it is gone or damaged."""
    try:
        result = EvaluationResult.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
    summary = EvaluationSummary.of(result)
    body = summary.model_dump(mode="json")
    with database.writing() as session:
        job = session.get(JobRow, job_id, with_for_update=True)
        if job is None:  # its time in the bin is over
            return None
        measured = measurements.of_evaluation(job_id, job.finished_at or job.created_at, summary)
        session.execute(delete(MeasurementRow).where(MeasurementRow.job_id == job_id))
        session.add_all(measured)
        measurements.note_latest(session, MeasurementRow.job_id == job_id)
        figures = measurements.best_of(measured)
        of_job = update(JobRow).where(JobRow.id == job_id)
        session.execute(of_job.values(summary=body, **figures))
    return summary
