"""The training job, run for real on drawn images: what it reports, keeps, resumes and refuses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from app.contracts.events import LogEvent, MetricsEvent, ProgressEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import ImportParams, Schedule, TrainParams
from app.contracts.results import TrainResult
from app.store import catalogue, jobs
from app.store.tables import JobRow, ModelRow
from tests.jobs.runs import add_job, events_of, open_lab, row_of, run
from worker.job_run import run_job
from worker.jobs.context import WorkerLab
from worker.jobs.schedules import schedule
from worker.registry import load_model, save_weights

EPOCHS, STEPS_PER_EPOCH = 2, 3  # 180 training images, 64 a step


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def lab(tmp_path: Path) -> WorkerLab:
    return open_lab(tmp_path)


@pytest.fixture
def dataset(lab: WorkerLab) -> str:
    row = run(lab, JobKind.IMPORT, ImportParams(name="Shapes", train_per_class=20))
    assert row.status == JobStatus.SUCCEEDED
    return catalogue.datasets(lab.database)[0].id


def _params(dataset: str, **changes: Any) -> TrainParams:
    settings = {"name": "Model", "dataset": dataset, "architecture": "wrn-10-1"}
    small = {"epochs": EPOCHS, "batch_size": 64, "steps": 2}
    return TrainParams.model_validate({**settings, **small, **changes})


def _train(lab: WorkerLab, params: TrainParams) -> ModelRow:
    row = run(lab, JobKind.TRAIN, params)
    assert row.status == JobStatus.SUCCEEDED, row.failure
    return _model_of(lab, row)


def _model_of(lab: WorkerLab, job: JobRow) -> ModelRow:
    result = TrainResult.model_validate_json(lab.files.result(job.id).read_bytes())
    row = catalogue.model(lab.database, result.model)
    assert row is not None
    return row


def _student(lab: WorkerLab, dataset: str, **changes: Any) -> TrainParams:
    teacher = _train(lab, _params(dataset, name="Teacher", epochs=1))
    return _params(dataset, recipe="agkd_bml", teacher=teacher.id, **changes)


def test_a_clean_model_is_registered_with_its_card(lab: WorkerLab, dataset: str) -> None:
    row = _train(lab, _params(dataset))
    card = row.card
    assert card["validation_clean"]["n"] == 20  # a tenth of 200
    assert card["validation_robust"] is None
    assert card["teacher"] is None
    assert card["dataset"]["sha256"] == catalogue.datasets(lab.database)[0].report["checksum"]
    weights = safetensors.torch.load_file(lab.files.weights(row.id))
    assert card["parameters"] == sum(p.numel() for p in load_model(lab.files, row).parameters())
    assert all(value.isfinite().all() for value in weights.values())
    assert not lab.files.checkpoints(str(row.job_id)).exists()


def test_a_student_reports_every_term_and_its_teacher(lab: WorkerLab, dataset: str) -> None:
    params = _student(lab, dataset)
    job = run(lab, JobKind.TRAIN, params)
    card = _model_of(lab, job).card
    assert card["teacher"]["id"] == params.teacher
    assert card["validation_robust"]["n"] == 20
    assert "PGD-10" in card["selection"]
    events = events_of(lab, job.id)
    steps = [e for e in events if isinstance(e, MetricsEvent) and e.series == "step"]
    assert steps[-1].step == EPOCHS * STEPS_PER_EPOCH
    terms = steps[-1].values
    weighted = terms["classification"] + terms["mart"] + terms["agkd"]
    assert terms["loss"] == pytest.approx(weighted + params.bml_weight * terms["bml"], rel=1e-5)
    epochs = [e for e in events if isinstance(e, MetricsEvent) and e.series == "epoch"]
    assert [e.step for e in epochs] == [1, 2]
    assert set(epochs[0].values) == {"validation_clean", "validation_robust"}
    last = [e for e in events if isinstance(e, ProgressEvent)][-1]
    assert last.done == last.total == EPOCHS * STEPS_PER_EPOCH


def test_the_mart_term_can_be_switched_off(lab: WorkerLab, dataset: str) -> None:
    job = run(lab, JobKind.TRAIN, _student(lab, dataset, mart=False, epochs=1))
    steps = [e for e in events_of(lab, job.id) if isinstance(e, MetricsEvent)]
    assert steps[0].values["mart"] == 0


def test_a_student_starts_from_its_teacher(lab: WorkerLab, dataset: str) -> None:
    # With a vanishing learning rate the weights stay where they started.
    params = _student(lab, dataset, learning_rate=1e-12, epochs=1)
    student = load_model(lab.files, _train(lab, params))
    teacher = catalogue.model(lab.database, str(params.teacher))
    assert teacher is not None
    expected = dict(load_model(lab.files, teacher).named_parameters())
    for name, value in student.named_parameters():
        torch.testing.assert_close(value, expected[name])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    lab: WorkerLab, dataset: str
) -> None:
    params = _student(lab, dataset, epochs=1)
    first, again = _train(lab, params), _train(lab, params)
    other = _train(lab, params.model_copy(update={"seed": 1}))
    assert first.sha256 == again.sha256
    assert first.sha256 != other.sha256


class _StopAfter:
    """Asks the worker to stop once it has looked so often."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("looks", [0, 2, 4, 5, 7])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    lab: WorkerLab, dataset: str, looks: int
) -> None:
    params = _student(lab, dataset)
    whole = _train(lab, params)
    job_id = add_job(lab, JobKind.TRAIN, params)
    assert run_job(lab, job_id, stopping=_StopAfter(looks)) is None
    assert row_of(lab, job_id).status == JobStatus.QUEUED
    assert row_of(lab, job_id).attempt == 0
    assert run_job(lab, job_id, stopping=lambda: False) is JobStatus.SUCCEEDED
    assert _model_of(lab, row_of(lab, job_id)).sha256 == whole.sha256


def _cancelled(lab: WorkerLab, params: TrainParams, *, after_events: int) -> JobRow:
    seen = 0

    def ring(job_id: str) -> None:
        nonlocal seen
        seen += 1
        if seen == after_events:
            jobs.request_cancel(lab.database, job_id)

    watched = WorkerLab(lab.settings, lab.database, lab.files, ring)
    return run(watched, JobKind.TRAIN, params)


def test_a_cancelled_run_leaves_a_checkpoint_that_another_job_continues(
    lab: WorkerLab, dataset: str
) -> None:
    params = _params(dataset)
    whole = _train(lab, params)
    job = _cancelled(lab, params, after_events=4)
    assert job.status == JobStatus.CANCELLED
    assert list(lab.files.checkpoints(job.id).glob("*.pt"))
    continued = run(lab, JobKind.TRAIN, params.model_copy(update={"continue_from": job.id}))
    logs = [e.text for e in events_of(lab, continued.id) if isinstance(e, LogEvent)]
    assert any(text.startswith("Going on after") for text in logs)
    assert _model_of(lab, continued).sha256 == whole.sha256


def test_a_loss_that_is_not_finite_fails_with_advice(lab: WorkerLab, dataset: str) -> None:
    params = _student(lab, dataset)
    _poison(lab, str(params.teacher))
    job = run(lab, JobKind.TRAIN, params)
    assert job.status == JobStatus.FAILED
    assert job.failure is not None
    assert "learning rate" in job.failure["hint"]
    assert job.progress is not None
    assert job.progress["done"] < job.progress["total"]


def _poison(lab: WorkerLab, model_id: str) -> None:
    """Register weights for the model under which every logit is infinite."""
    weights = safetensors.torch.load_file(lab.files.weights(model_id))
    weights["head.weight"] = weights["head.weight"] + float("inf")
    sha256, size = save_weights(lab.files, model_id, weights, {})
    with lab.database.writing() as session:
        row = session.get_one(ModelRow, model_id)
        row.sha256, row.size_bytes = sha256, size


def test_a_deleted_teacher_fails_with_advice(lab: WorkerLab, dataset: str) -> None:
    params = _student(lab, dataset)
    catalogue.set_model_deleted(lab.database, str(params.teacher), deleted=True)
    job = run(lab, JobKind.TRAIN, params)
    assert job.status == JobStatus.FAILED
    assert job.failure is not None
    assert "deleted" in job.failure["detail"]


def test_a_damaged_teacher_is_noticed(lab: WorkerLab, dataset: str) -> None:
    params = _student(lab, dataset)
    path = lab.files.weights(str(params.teacher))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    job = run(lab, JobKind.TRAIN, params)
    assert job.failure is not None
    assert "not those that were registered" in job.failure["detail"]


def test_a_second_message_for_the_same_job_changes_nothing(lab: WorkerLab, dataset: str) -> None:
    job = run(lab, JobKind.TRAIN, _params(dataset, epochs=1))
    before = events_of(lab, job.id)
    assert run_job(lab, job.id, stopping=lambda: False) is None
    assert events_of(lab, job.id) == before


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Schedule.MULTISTEP, [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1]),
        (Schedule.COSINE, [(1 + math.cos(math.pi * t / 8)) / 2 for t in range(8)]),
    ],
)
def test_the_learning_rate_follows_its_schedule(kind: Schedule, expected: list[float]) -> None:
    params = _params("0" * 32, schedule=kind, learning_rate=1.0, epochs=4, milestones=[2])
    assert _rates(params) == pytest.approx(expected)


def test_one_cycle_rises_to_the_learning_rate_and_falls_to_almost_nothing() -> None:
    rates = _rates(_params("0" * 32, schedule="one_cycle", learning_rate=1.0, epochs=50))
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(1.0)
    assert peak == 29  # 30 % of 100 steps
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 1e-4


def _rates(params: TrainParams) -> list[float]:
    """The learning rate of each step, at two steps an epoch."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=params.learning_rate)
    rates = schedule(optimizer, params, steps_per_epoch=2)
    seen = []
    for _ in range(2 * params.epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        rates.step()
    return seen
