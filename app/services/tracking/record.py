"""What is told of one job, whoever keeps it: parameters, curves, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.results import EvaluationSummary
from app.services import evaluations
from app.services.announcing import page_of
from app.services.lab import Lab
from app.settings import code_version
from app.store import job_queries
from app.store.tables import JobRow

MIRRORED = (JobKind.TRAIN, JobKind.EVALUATE)
_EPOCH = "epoch/"
_POINTS = 5000
"""Of a long training, as many steps at least are told."""


@dataclass(frozen=True)
class Point:
    """A figure at one moment."""

    name: str
    """`epoch/clean`, `Student/robust`; holds names from outside."""
    value: float
    step: int
    at: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class Record:
    """One job, of one that runs its epochs so far."""

    id: str
    name: str
    status: JobStatus
    began: float
    ended: float | None
    """Seconds since 1970, both; None while it runs."""
    params: Mapping[str, str]
    """`attack.steps`: `10`."""
    tags: Mapping[str, str]
    points: tuple[Point, ...]


def record(lab: Lab, job: JobRow) -> Record:
    """What is known of a job that ended, in three queries, or of one that runs."""
    if job.finished_at is None:
        points = [p for p in _curves(lab, job.id) if p.name.startswith(_EPOCH)]
    else:
        points = [*_curves(lab, job.id), *_figures(lab, job)]
    return Record(
        id=job.id,
        name=job.name or job.title,
        status=JobStatus(job.status),
        began=job.started_at or job.created_at,
        ended=job.finished_at,
        params=dict(_flat(job.params)),
        tags={
            "lab.job": job.id,
            "lab.kind": job.kind,
            "lab.page": page_of(lab, job.id),
            "lab.version": code_version(),
        },
        points=tuple(points),
    )


def _curves(lab: Lab, job_id: str) -> Iterator[Point]:
    """What was reported while it ran; of two points at one step, the later counts."""
    found: dict[tuple[str, int], Point] = {}
    for event in job_queries.charts_and_log(lab.database, job_id, points=_POINTS):
        body = event.body
        # An evaluation's running estimates go by ids, and its figures come below.
        if body["type"] == "metrics" and body["series"] != "estimate":
            for name, value in body["values"].items():
                point = Point(f"{body['series']}/{name}", value, body["step"], event.at)
                found[point.name, point.step] = point
    yield from found.values()


def _figures(lab: Lab, job: JobRow) -> Iterator[Point]:
    """What an evaluation found, of each model."""
    assert job.finished_at is not None
    summary: EvaluationSummary | None = evaluations.summaries(lab, [job.id]).get(job.id)
    for model in () if summary is None else summary.models:
        for name, accuracy in (("clean", model.clean), ("robust", model.robust)):
            if accuracy is not None:
                value = accuracy.value
                yield Point(f"{model.name}/{name}", value, 0, job.finished_at)
        for point in model.against_epsilon:  # a step is a whole number
            value, grey = point.accuracy.value, round(255 * point.x)
            yield Point(f"{model.name}/against_epsilon_255", value, grey, job.finished_at)


def _flat(params: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, str]]:
    for name, value in params.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{start}{name}.")
        elif value is not None:
            yield f"{start}{name}", str(value)
