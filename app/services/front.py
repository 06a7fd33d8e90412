"""The lab in short, for the first page."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.views import JobView
from app.services import job_views
from app.services.job_changes import pinned
from app.services.lab import Lab
from app.store import front

UNFINISHED = tuple(status for status in JobStatus if not status.is_final)
_OVER = tuple(status for status in JobStatus if status.is_final)
_APART = (JobKind.EXPLAIN,)
_LISTED = tuple(kind for kind in JobKind if kind not in _APART)
_SHOWN_UNFINISHED = 10
_SHOWN_OVER = 6
_LATEST_EVALUATIONS = 10


@dataclass(frozen=True)
class Beginnings:
    """Whether the lab has anything of each kind, outside the bin."""

    dataset: bool
    shipped: bool
    """A model that came with the code."""
    trained: bool
    """A model that a job of this lab trained."""
    clean: bool
    """A model trained on clean images."""
    robust: bool
    """A model trained to resist."""


@dataclass(frozen=True)
class Recent:
    """Jobs in short; those in the archive and parts of ablations are elsewhere."""

    unfinished: tuple[JobView, ...]
    """What runs, then what is queued."""
    more_unfinished: int
    """How many there are besides."""
    over: tuple[JobView, ...]
    """What ended last, live attacks apart."""
    attacks: int
    """How many live attacks there were."""
    last_attack: JobView | None


def beginnings(lab: Lab) -> Beginnings:
    """Whether the lab has datasets and models of each kind."""
    return Beginnings(*front.beginnings(lab.database))


def unfinished_trainings(lab: Lab) -> list[JobView]:
    """Those that are no part of an ablation, newest first."""
    return _newest(lab, [JobKind.TRAIN], UNFINISHED, _SHOWN_UNFINISHED)


def recent(lab: Lab) -> Recent:
    """What is not over, and what ended last."""
    kinds = tuple(JobKind)
    unfinished = _newest(lab, kinds, UNFINISHED, _SHOWN_UNFINISHED)
    total = front.count(lab.database, kinds=kinds, statuses=UNFINISHED)
    attacks = _newest(lab, _APART, tuple(JobStatus), 1)
    return Recent(
        unfinished=tuple(sorted(unfinished, key=_waits)),
        more_unfinished=max(0, total - len(unfinished)),
        over=tuple(_newest(lab, _LISTED, _OVER, _SHOWN_OVER)),
        attacks=front.count(lab.database, kinds=_APART, statuses=tuple(JobStatus)),
        last_attack=next(iter(attacks), None),
    )


def evaluation(lab: Lab) -> JobView | None:
    """The evaluation pinned last; else, of the latest, the newest of those with most models."""
    kept = (job for job in pinned(lab) if job.kind is JobKind.EVALUATE)
    if (chosen := next(kept, None)) is not None:
        return chosen
    latest = _newest(lab, [JobKind.EVALUATE], [JobStatus.SUCCEEDED], _LATEST_EVALUATIONS)
    return max(latest, key=lambda job: len(job.params.get("models", ())), default=None)


def _newest(
    lab: Lab, kinds: Collection[JobKind], statuses: Collection[JobStatus], limit: int
) -> list[JobView]:
    rows = front.newest(lab.database, kinds=kinds, statuses=statuses, limit=limit)
    return job_views.views(lab, rows)


def _waits(job: JobView) -> bool:
    return job.status is not JobStatus.RUNNING
