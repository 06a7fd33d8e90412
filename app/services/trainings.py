"""What trainings reported, with the runs that they go on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.contracts.jobs import JobKind
from app.contracts.views import JobView
from app.errors import InvalidInput
from app.services import job_views, jobs
from app.services.lab import Lab
from app.store import job_queries
from app.store.job_queries import StoredEvent

MAX_COMPARED = 8
_MOST_RUNS = 20
"""Runs that a history goes back."""


@dataclass(frozen=True)
class Run:
    """One job of a training that was continued, with its metrics and log lines in order."""

    job: JobView
    events: tuple[StoredEvent, ...]


@dataclass(frozen=True)
class History:
    """A training from its first step on."""

    job: JobView
    """The last run, which was asked for."""
    runs: tuple[Run, ...]
    """The first one first; `job` is the last."""


def earlier(lab: Lab, job: JobView) -> tuple[Run, ...]:
    """The runs that a training goes on from, the first one first; none for other jobs."""
    if not job.params.get("continue_from"):
        return ()
    rows = job_queries.earlier_runs(lab.database, job.id, most=_MOST_RUNS)
    return tuple(
        Run(view, tuple(jobs.charts_and_log(lab, view.id))) for view in job_views.views(lab, rows)
    )


def histories(lab: Lab, job_ids: Sequence[str]) -> list[History]:
    """Trainings to be compared, each with its whole history, in the order given.

    Raises NotFound; InvalidInput where they are no trainings, too many, or repeat.
    """
    if len(job_ids) > MAX_COMPARED or len(set(job_ids)) < len(job_ids):
        raise InvalidInput(
            f"A comparison takes up to {MAX_COMPARED} trainings, each once.",
            hint="Leave some out.",
            field="job",
        )
    views = jobs.several(lab, job_ids)
    for view in views:
        if view.kind is not JobKind.TRAIN:
            raise InvalidInput(
                f"“{view.title}” is no training.", hint="Choose a training.", field="job"
            )
    return [_history(lab, view) for view in views]


def _history(lab: Lab, job: JobView) -> History:
    own = Run(job, tuple(jobs.charts_and_log(lab, job.id)))
    return History(job, (*earlier(lab, job), own))
