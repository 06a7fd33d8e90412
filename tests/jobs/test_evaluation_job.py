"""What an evaluation reports while it runs, how it ends, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sqlalchemy import select

from app.contracts.events import LogEvent, MetricsEvent, ProgressEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import Method
from app.contracts.results import EvaluationResult, EvaluationSummary
from app.store import jobs, marks
from app.store.tables import JobRow, ModelRow
from tests.jobs.evaluations import small
from tests.jobs.measured import Measured, open_measured, random_model, register
from tests.jobs.runs import add_job, events_of, every_look, row_of, run
from worker.evaluation.progress import Meter
from worker.job_run import run_job
from worker.jobs.attacking import Watch
from worker.jobs.context import Cancelled, JobContext
from worker.models import Frozen


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_the_estimate_is_reported_after_every_chunk(measured: Measured) -> None:
    row = run(measured.lab, JobKind.EVALUATE, small(measured, batch_size=25))
    result = EvaluationResult.model_validate_json(
        measured.lab.files.result(row.result_name).read_bytes()
    )
    events = events_of(measured.lab, row.id)
    estimates = [event for event in events if isinstance(event, MetricsEvent)]
    assert {event.series for event in estimates} == {"estimate"}
    whole = [event for event in estimates if len(event.values) == 10]
    assert [event.step for event in whole] == [25, 50, 60]
    left = [value for event in whole for name, value in event.values.items() if "left" in name]
    assert left == [0] * 6
    for figures in result.models:
        assert figures.robust is not None
        known = {"clean": figures.clean.value, "robust": figures.robust.value}
        known |= {"low": figures.robust.low, "high": figures.robust.high}
        for name, value in known.items():
            assert estimates[-1].values[f"{figures.model}:{name}"] == value
    progress = [event for event in events if isinstance(event, ProgressEvent)]
    assert progress[-1].done == progress[-1].total
    assert [event.done for event in progress] == sorted(event.done for event in progress)
    assert len({event.total for event in progress}) == 1


def test_the_first_batch_tells_what_every_attack_left(measured: Measured) -> None:
    further = (Method.SQUARE, Method.NOISE)
    params = small(
        measured, models=(measured.teacher,), further=further, queries=20, batch_size=25,
        epsilon=0.1 / 255,
    )  # fmt: skip
    row = run(measured.lab, JobKind.EVALUATE, params)
    events = events_of(measured.lab, row.id)
    first = [e for e in events if isinstance(e, MetricsEvent) and e.step == 25]
    values = [event.values[f"{measured.teacher}:robust"] for event in first]
    assert len(values) == 5  # PGD, FGSM, Square, noise, and all of the batch
    left = [event.values[f"{measured.teacher}:attacks_left"] for event in first]
    assert left == [3, 2, 1, 0, 0]
    assert values == sorted(values, reverse=True)
    assert values[-1] == values[-2]
    told = [event.text for event in events if isinstance(event, LogEvent)]
    stages = [text for text in told if "first 25 images" in text]
    assert [stage.split(": ")[1].split(" done")[0] for stage in stages] == [
        "PGD-4", "FGSM", "Square", "Random noise",
    ]  # fmt: skip
    assert ["Preliminary: " in stage for stage in stages] == [True, True, True, False]
    assert stages[0].endswith("Preliminary: 3 attacks left.")
    assert sum(text.startswith("Robust after 50 images") for text in told) == 1


def test_progress_names_attacks_as_people_do(measured: Measured) -> None:
    params = small(measured, images=4, further=(Method.AUTOATTACK,), epsilons=(), step_counts=())
    lab = every_look(measured.lab)
    row = run(lab, JobKind.EVALUATE, params)
    phases = {e.phase for e in events_of(lab, row.id) if isinstance(e, ProgressEvent)}
    assert not [phase for phase in phases for method in Method if f": {method}" in phase]
    result = EvaluationResult.model_validate_json(lab.files.result(row.result_name).read_bytes())
    assert result.pace is not None
    assert result.pace.passes > 0
    assert result.pace.an_image[Method.AUTOATTACK] > 1000


def test_what_overviews_show_is_kept_in_the_row(measured: Measured) -> None:
    lab = measured.lab
    row = run(lab, JobKind.EVALUATE, small(measured))
    result = EvaluationResult.model_validate_json(lab.files.result(row.result_name).read_bytes())
    with lab.database.reading() as session:
        kept = session.scalar(select(JobRow.summary).where(JobRow.id == row.id))
    assert EvaluationSummary.model_validate(kept) == EvaluationSummary.of(result)


def test_a_cancelled_evaluation_leaves_nothing(tmp_path: Path) -> None:
    measured = open_measured(tmp_path)

    def cancel_at_first_point(job_id: str) -> None:
        if any(isinstance(event, MetricsEvent) for event in events_of(measured.lab, job_id)):
            jobs.request_cancel(measured.lab.database, job_id)

    lab = replace(every_look(measured.lab), ring=cancel_at_first_point)
    row = run(lab, JobKind.EVALUATE, small(measured))
    assert row.status == JobStatus.CANCELLED
    assert row.result_file is None
    assert not any(lab.files.result(row.result_name).parent.iterdir())
    last = [e for e in events_of(lab, row.id) if isinstance(e, ProgressEvent)][-1]
    assert last.done < last.total


def test_a_stopping_worker_gives_the_evaluation_back(measured: Measured) -> None:
    row = run(measured.lab, JobKind.EVALUATE, small(measured), stopping=lambda: True)
    assert (row.status, row.attempt) == (JobStatus.QUEUED, 0)
    run_job(measured.lab, row.id, stopping=lambda: False)
    assert row_of(measured.lab, row.id).status == JobStatus.SUCCEEDED


def test_a_cancel_is_noticed_between_two_steps(measured: Measured) -> None:
    job_id = add_job(measured.lab, JobKind.EVALUATE, small(measured))
    claim = jobs.claim(measured.lab.database, job_id, lease_s=60)
    assert claim is not None
    with JobContext(every_look(measured.lab), claim, lambda: False) as context:
        meter = Meter(context.progress)
        model = Watch(meter).over(random_model(3))
        copy, x = Watch(meter).copy_of(model), torch.zeros(1, 3, 32, 32)
        assert isinstance(copy, Frozen)
        memory, rows = copy.remember(x), torch.tensor([0])
        assert model(x).shape == copy(x).shape == (1, 3)
        assert meter.made == pytest.approx(1)  # three passes without gradients
        copy(x.requires_grad_())
        assert meter.made == pytest.approx(2)
        jobs.request_cancel(measured.lab.database, job_id)
        for look in (model, model.outputs, copy, lambda x: memory.look(rows, 0, 0, x)):
            with pytest.raises(Cancelled):
                look(x)


@pytest.mark.parametrize(
    ("classes", "image_size", "detail"),
    [
        (("a", "b", "c"), 32, "does not know all classes of the dataset"),
        (None, 64, "images of 64 pixels, the dataset's have 32"),
    ],
)
def test_refuses_a_model_that_does_not_fit(
    measured: Measured, classes: tuple[str, ...] | None, image_size: int, detail: str
) -> None:
    names = classes or measured.dataset.class_names
    model = register(measured.lab, random_model(len(names)), names, image_size=image_size)
    row = run(measured.lab, JobKind.EVALUATE, small(measured, models=(measured.teacher, model)))
    assert row.status == JobStatus.FAILED
    assert row.failure is not None
    assert detail in row.failure["detail"]
    assert row.failure["hint"]
    # Before anything is measured.
    assert not [e for e in events_of(measured.lab, row.id) if isinstance(e, ProgressEvent)]


def test_says_that_a_model_was_deleted(measured: Measured) -> None:
    model = register(measured.lab, random_model(10), measured.dataset.class_names)
    marks.put_in_bin(measured.lab.database, ModelRow, [model])
    row = run(measured.lab, JobKind.EVALUATE, small(measured, models=(model,)))
    assert row.status == JobStatus.FAILED
    assert row.failure is not None
    assert "deleted" in row.failure["detail"]
