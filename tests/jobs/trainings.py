"""Small trainings for tests: parameters, models, and what a run reported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.contracts.events import LogEvent, LogLevel, MetricsEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import ImportParams, TrainParams
from app.contracts.results import TrainResult
from app.store import catalogue
from app.store.tables import JobRow, ModelRow
from tests.jobs.runs import events_of, open_lab, run
from worker.jobs.context import WorkerLab

EPOCHS, STEPS_PER_EPOCH = 2, 3  # 180 training images, 64 a step
VALIDATION = 20  # images


@dataclass(frozen=True)
class Workshop:
    """A lab with drawn images and a clean model."""

    lab: WorkerLab
    dataset: str
    teacher: str

    def params(self, **changes: Any) -> TrainParams:
        small = {"architecture": "wrn-10-1", "epochs": EPOCHS, "batch_size": 64, "steps": 2}
        given = {"name": "Model", "dataset": self.dataset, **small, **changes}
        return TrainParams.model_validate(given)

    def student(self, **changes: Any) -> TrainParams:
        return self.params(**{"recipe": "agkd_bml", "teacher": self.teacher, **changes})


def open_workshop(folder: Path) -> Workshop:
    lab = open_lab(folder)
    row = run(lab, JobKind.IMPORT, ImportParams(name="Shapes", train_per_class=20))
    assert row.status == JobStatus.SUCCEEDED
    bare = Workshop(lab, catalogue.datasets(lab.database)[0].id, teacher="")
    teacher = train(lab, bare.params(name="Teacher", epochs=1))
    return Workshop(lab, bare.dataset, teacher.id)


def train(lab: WorkerLab, params: TrainParams) -> ModelRow:
    """Train to the end; returns the best epoch's model."""
    row = run(lab, JobKind.TRAIN, params)
    assert row.status == JobStatus.SUCCEEDED, row.failure
    best, _ = models_of(lab, row)
    return best


def models_of(lab: WorkerLab, job: JobRow) -> tuple[ModelRow, ModelRow]:
    """The best and the last model that a training left."""
    result = TrainResult.model_validate_json(lab.files.result(job.id).read_bytes())
    found = catalogue.models_by_id(lab.database, [result.model, result.last])
    return found[result.model], found[result.last]


def points(lab: WorkerLab, job_id: str, series: Literal["step", "epoch"]) -> list[MetricsEvent]:
    events = events_of(lab, job_id)
    return [e for e in events if isinstance(e, MetricsEvent) and e.series == series]


def lines(lab: WorkerLab, job_id: str, level: LogLevel) -> list[str]:
    events = events_of(lab, job_id)
    return [e.text for e in events if isinstance(e, LogEvent) and e.level is level]
