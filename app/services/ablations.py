"""Ablations: the table of an ablation, while it runs and after, and what its rows change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from app.ablations import tables
from app.contracts.jobs import JobKind
from app.contracts.params import AblationParams
from app.contracts.results import AblationTable, Rung
from app.contracts.views import JobView
from app.errors import InvalidInput
from app.services import jobs, rungs, spreadsheets
from app.services.lab import Lab


class Ablation(NamedTuple):
    """An ablation as it is known now: all that one look at it needs."""

    job: JobView
    table: AblationTable


def get(lab: Lab, job_id: str) -> Ablation:
    """Raises NotFound; InvalidInput for another kind of job."""
    job = jobs.get(lab, job_id)
    if job.kind is not JobKind.ABLATION:
        raise InvalidInput(f"“{job.title}” is no ablation.", hint="Choose an ablation.")
    found = tables.table(lab.database, lab.files, job_id)
    assert found is not None
    return Ablation(job, found)


def rungs_of(lab: Lab, ablation: Ablation) -> tuple[Rung, ...]:
    """Every row of a design beside the one it is compared with; empty for recipes with a grid."""
    params = AblationParams.model_validate(ablation.job.params)
    if params.design.is_grid:
        return ()
    return rungs.rungs(lab.files, ablation.table, [row.beside for row in params.rows()])


def csv(lab: Lab, job_id: str) -> tuple[JobView, Iterator[str]]:
    """One row a figure of one seed (`spreadsheets`). Raises NotFound and InvalidInput."""
    job, table = get(lab, job_id)
    return job, spreadsheets.ablation(job_id, table)
