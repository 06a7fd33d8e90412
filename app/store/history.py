"""What earlier jobs asked for, and how long it took them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, true

from app.contracts.jobs import JobKind, JobStatus
from app.store.catalogue import is_best
from app.store.db import Database
from app.store.tables import JobRow, MeasurementRow, ModelRow


@dataclass(frozen=True)
class Trained:
    """A training that ran through in one go."""

    card: dict[str, Any]
    """Of its best model."""
    dataset_id: str
    seconds: float


@dataclass(frozen=True)
class Evaluated:
    """An evaluation that ran through in one go."""

    result_name: str
    """What the files of its result are called."""
    params: dict[str, Any]
    device: str
    """What computed it; empty in evaluations of older versions of the lab."""
    images: int
    """How many were measured."""
    seconds: float


_SECONDS = JobRow.finished_at - JobRow.started_at
_IN_ONE_GO = (JobRow.status == JobStatus.SUCCEEDED, JobRow.attempt == 1)


def trainings(database: Database, recipe: str | None, *, limit: int) -> list[Trained]:
    """The newest trainings, of a recipe or of all, that did not go on from another one."""
    begun = JobRow.params["continue_from"].as_string().is_(None)
    of_recipe = true() if recipe is None else ModelRow.recipe == recipe
    query = (
        select(ModelRow.card, ModelRow.dataset_id, _SECONDS)
        .join(JobRow, JobRow.id == ModelRow.job_id)
        .where(of_recipe, *_IN_ONE_GO, begun, _SECONDS > 0)
        .where(JobRow.kind == JobKind.TRAIN, is_best)
        .order_by(ModelRow.created_at.desc())
        .limit(limit)
    )
    with database.reading() as session:
        return [Trained(*row) for row in session.execute(query) if row[1] is not None]


def evaluations(database: Database, *, limit: int) -> list[Evaluated]:
    """The newest evaluations."""
    device = func.coalesce(JobRow.summary["device"].as_string(), "")
    query = (
        select(JobRow.result_name, JobRow.params, device, MeasurementRow.images, _SECONDS)
        .join(JobRow, JobRow.id == MeasurementRow.job_id)
        .where(MeasurementRow.position == 0, *_IN_ONE_GO, _SECONDS > 0)
        .order_by(JobRow.created_at.desc(), JobRow.id.desc())
        .limit(limit)
    )
    with database.reading() as session:
        return [Evaluated(*row) for row in session.execute(query)]
