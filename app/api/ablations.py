"""Ablations: their tables."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from app.admission.routes import ByMethod
from app.contracts.results import AblationTable, Contrast
from app.deps import IdPath, LabDep
from app.services import ablations
from app.services.exports import attachment, file_name

router = APIRouter(prefix="/jobs", tags=["ablations"], route_class=ByMethod)

_CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}}}
}


@router.get("/{job_id}/ablation")
def table(lab: LabDep, job_id: IdPath) -> AblationTable:
    """The table of an ablation as it is known now, also while it runs or after it was cancelled.

    Each figure is the mean over the seeds that have it, with the standard deviation of the sample.
    `reported` holds figures of the paper, of another network and other data.
    """
    return ablations.get(lab, job_id).table


@router.get("/{job_id}/ablation/contrasts")
def contrasts(lab: LabDep, job_id: IdPath) -> list[Contrast]:
    """Every row of a design beside the one it is compared with, on the same images, seed by seed.

    How many images stand under PGD, then under CW too, then under all attacks, and how many fall
    between the first and the last; empty for an ablation of recipes with a grid.
    """
    return list(ablations.contrasts_of(lab, ablations.get(lab, job_id)))


@router.get("/{job_id}/ablation.csv", response_class=StreamingResponse, responses=_CSV)
def as_csv(lab: LabDep, job_id: IdPath) -> StreamingResponse:
    """The same, one row a figure.

    Columns: `job`, `row` (from 1), `recipe`, `label`, `measure`, `statistic` (`seed`, `mean`, `std`
    or `reported`), `seed`, `value` (a share), `low`, `high` (95 %, over images), `n` (images of a
    seed; seeds of a mean), `model`, `note`. A text that a spreadsheet would take for a formula
    begins with an apostrophe.
    """
    job, lines = ablations.csv(lab, job_id)
    name = file_name(job.title, "ablation", job_id, ".csv")
    return StreamingResponse(lines, media_type="text/csv", headers=attachment(name))
