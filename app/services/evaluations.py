"""Finished evaluations: what comparisons, exports and reports begin with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.results import EvaluationResult, EvaluationSummary
from app.contracts.views import JobView
from app.errors import Conflict, InvalidInput
from app.services import jobs
from app.services.lab import Lab
from app.store import summaries as stored


def summaries(lab: Lab, job_ids: Collection[str]) -> dict[str, EvaluationSummary]:
    """The evaluations among these jobs that left a result, in short; one query for all of them."""
    return stored.of_jobs(lab.database, lab.files, job_ids)


def left_by(lab: Lab, job: JobView) -> EvaluationSummary | None:
    """What an evaluation left, in short; None where it left nothing or its file is gone."""
    if job.status is not JobStatus.SUCCEEDED or not lab.files.has(
        lab.files.result(job.result_name)
    ):
        return None
    return summaries(lab, [job.id]).get(job.id)


def not_measured(lab: Lab) -> list[str]:
    """Evaluations of older versions that tables and the board do not know until they are summed up.

    `summaries` does so.
    """
    return stored.not_measured(lab.database)


class Finished(NamedTuple):
    """An evaluation that succeeded."""

    job: JobView
    result: EvaluationResult


def finished(lab: Lab, job_id: str) -> Finished:
    """Raises NotFound; InvalidInput where the job is no evaluation; Conflict before its success."""
    (one,) = all_finished(lab, [job_id])
    return one


def all_finished(lab: Lab, job_ids: Sequence[str]) -> list[Finished]:
    """The same of several, in the order given, in one query; and raises the same."""
    return [_finished(lab, job) for job in jobs.several(lab, job_ids)]


def _finished(lab: Lab, job: JobView) -> Finished:
    if job.kind is not JobKind.EVALUATE:
        raise InvalidInput(
            f"“{job.title}” is no evaluation.", hint="Choose an evaluation.", field="job"
        )
    if job.status is not JobStatus.SUCCEEDED:
        over = job.status.is_final
        raise Conflict(
            f"“{job.title}” is {job.status} and has no figures.",
            hint="Run it again." if over else "Come back once it has succeeded.",
            field="job",
        )
    result = jobs.result_of(lab, job)
    assert isinstance(result, EvaluationResult)
    return Finished(job, result)


def of_lab_01(result: EvaluationResult) -> bool:
    """Whether it was measured before the lab kept each image's outcome and checked itself."""
    return not all(model.outcomes and model.verdict for model in result.models)
