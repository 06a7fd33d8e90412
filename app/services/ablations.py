"""Ablations: the table of an ablation, while it runs and after, and what its rows change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from app.ablations import tables
from app.contracts.jobs import JobKind
from app.contracts.params import AblationParams
from app.contracts.results import AblationResult, AblationTable, Contrast
from app.contracts.stored import UNREAD_PARAMS, understood
from app.contracts.views import JobView
from app.errors import Conflict, InvalidInput, NotFound
from app.services import contrasts, jobs, spreadsheets
from app.services.lab import Lab


class Ablation(NamedTuple):
    """An ablation as it is known now: all that one look at it needs."""

    job: JobView
    params: AblationParams
    table: AblationTable


def get(lab: Lab, job_id: str) -> Ablation:
    """Raises NotFound; InvalidInput for another kind of job; Conflict for one that is not read."""
    job = jobs.get(lab, job_id)
    if job.kind is not JobKind.ABLATION:
        raise InvalidInput(f"“{job.title}” is no ablation.", hint="Choose an ablation.")
    if job.has_result:
        with suppress(NotFound, Conflict):
            result = jobs.result_of(lab, job)
            assert isinstance(result, AblationResult)
            return Ablation(job, result.params, result.table)
    params = understood(AblationParams, job.params)
    if params is None:
        raise Conflict(UNREAD_PARAMS, hint="Submit it again.")
    return Ablation(job, params, tables.table(lab.database, lab.files, job_id, params))


def contrasts_of(lab: Lab, ablation: Ablation) -> tuple[Contrast, ...]:
    """Every row of a design beside the one it is compared with; empty for recipes with a grid."""
    if ablation.params.design.is_grid:
        return ()
    return contrasts.contrasts(
        lab.database, lab.files, ablation.table, [row.beside for row in ablation.params.rows()]
    )


def csv(lab: Lab, job_id: str) -> tuple[JobView, Iterator[str]]:
    """One row a figure of one seed (`spreadsheets`). Raises NotFound and InvalidInput."""
    job, _, table = get(lab, job_id)
    return job, spreadsheets.ablation(job_id, table)
