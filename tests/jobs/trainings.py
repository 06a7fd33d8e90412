"""Small trainings for tests: parameters, models, and what a run reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from app.contracts.events import LogEvent, LogLevel, MetricsEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import ImportParams, TrainParams
from app.contracts.results import TrainResult
from app.store import catalogue
from app.store.tables import JobRow, ModelRow
from tests.jobs.runs import events_of, open_lab, run
from worker.attacks import FirstBreak, Steps
from worker.attacks.iterative import FGSM
from worker.data import TensorSplit
from worker.jobs import validation
from worker.jobs.context import WorkerLab
from worker.jobs.training_state import snapshot
from worker.models import Classifier

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


def judge_clean(monkeypatch: pytest.MonkeyPatch, *correct: int) -> list[dict[str, Tensor]]:
    """Let the next epochs classify so many clean images right, whatever they learned.

    Gives the weights that were measured, as they come.
    """
    left, measured, count = list(correct), list[dict[str, Tensor]](), validation.clean_correct

    def judged(check: Callable[[], None], model: Classifier, split: TensorSplit, size: int) -> int:
        count(check, model, split, size)
        measured.append(snapshot(model))
        return left.pop(0)

    monkeypatch.setattr(validation, "clean_correct", judged)
    return measured


def judge_attacked(
    monkeypatch: pytest.MonkeyPatch, *, pgd: Sequence[int], fgsm: Sequence[int]
) -> None:
    """Let the next epochs withstand PGD and FGSM on so many images, whatever they learned."""
    left = {True: list(fgsm), False: list(pgd)}

    def judged(model: Classifier, x: Tensor, y: Tensor, *, how: Steps, **_: Any) -> FirstBreak:
        assert len(y) == VALIDATION
        stand = torch.arange(len(y)) < left[how == FGSM].pop(0)
        return FirstBreak(x, torch.where(stand, how.steps + 1, 1))

    monkeypatch.setattr(validation, "iterate", judged)


def models_of(lab: WorkerLab, job: JobRow) -> tuple[ModelRow, ModelRow]:
    """The best and the last model that a training left."""
    result = TrainResult.model_validate_json(lab.files.result(job.result_name).read_bytes())
    found = catalogue.models_by_id(lab.database, [result.model, result.last])
    return found[result.model], found[result.last]


def points(lab: WorkerLab, job_id: str, series: Literal["step", "epoch"]) -> list[MetricsEvent]:
    events = events_of(lab, job_id)
    return [e for e in events if isinstance(e, MetricsEvent) and e.series == series]


def lines(lab: WorkerLab, job_id: str, level: LogLevel) -> list[str]:
    events = events_of(lab, job_id)
    return [e.text for e in events if isinstance(e, LogEvent) and e.level is level]
