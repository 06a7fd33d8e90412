"""The page of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from app.contracts.params import Recipe
from app.contracts.results import TrainResult
from app.contracts.views import JobView
from app.services import jobs
from app.services.lab import Lab
from app.web.charts.base import Figure
from app.web.charts.reported import Run
from app.web.charts.training import training_figures
from app.web.pages.job_frame import JobContext, Kind, Way, opened


@dataclass(frozen=True)
class TrainingContext(JobContext):
    """A training, while it runs and after."""

    template: ClassVar[str] = "job_train.html"

    trained: TrainResult | None
    """What it left."""
    resume: str
    """Address of the form that goes on from the last checkpoint; empty where there is none."""


def _page(lab: Lab, job: JobView) -> TrainingContext:
    result, frame = opened(lab, job, KIND, TrainResult)
    resume = f"{frame['again']}&continue_from={job.id}" if jobs.can_go_on(lab, job) else ""
    return TrainingContext(**frame, trained=result, resume=resume)


def _figures(lab: Lab, job: JobView, runs: Sequence[Run]) -> dict[str, Figure]:
    return training_figures(runs, Recipe.known(job.params.get("recipe")))


KIND = Kind(
    noun="training",
    page=_page,
    way=Way("/api/jobs", "train"),
    figures=_figures,
    form="/train",
    compare="/compare/trainings",
    checkpoints=True,
)
