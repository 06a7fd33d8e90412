"""A job's handle against a real server: its events across broken lines, its end, its result."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import httpx
import pytest

from app.client import Job, Lab, LabError, events, transport
from app.contracts.events import Event, LogEvent, MetricsEvent, ProgressEvent, StateEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.results import EvaluationResult
from app.services.lab import Lab as Service
from app.store import jobs as stored
from tests.client.conftest import Worker
from tests.client.line import line_to
from tests.plugins.rows import job_row
from tests.web.example_evaluation import full_evaluation

WORK: Sequence[Event] = (
    ProgressEvent(done=1, total=4, phase="PGD on “Teacher”", eta_s=3.5),
    MetricsEvent(series="estimate", step=50, values={"x:robust": 0.25, "x:low": 0.1}),
    LogEvent(text="a line \u2028 that \x85 looks \x0b like several\n\ndata: and like an event"),
    LogEvent(text="Größe: 8/255 \N{GREEK SMALL LETTER EPSILON} \U0001f6a2"),
    ProgressEvent(done=4, total=4, phase="verdict"),
)


@pytest.fixture
def worker(lab: Service) -> Worker:
    row = job_row(kind=JobKind.EVALUATE, params={"models": []})
    stored.add(lab.database, row)
    return Worker.take(lab, row.id)


@pytest.fixture
def job(api: Lab, worker: Worker) -> Job[EvaluationResult]:
    return api.job(worker.claim.job_id)  # type: ignore[return-value]


def _states(told: Sequence[Event]) -> list[JobStatus]:
    return [event.status for event in told if isinstance(event, StateEvent)]


def test_a_job_is_told_from_its_first_to_its_last_event(
    worker: Worker, job: Job[EvaluationResult]
) -> None:
    worker.report(*WORK)
    worker.succeed(full_evaluation())
    told = list(job.watch())
    assert [event for event in told if not isinstance(event, StateEvent)] == list(WORK)
    assert _states(told) == [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.SUCCEEDED]
    assert list(job.watch()) == told


def test_events_come_while_the_job_runs(worker: Worker, job: Job[EvaluationResult]) -> None:
    """Each is written only after the one before was received: nothing waits for a batch."""
    watching = job.watch()
    assert _states(list(islice(watching, 2))) == [JobStatus.QUEUED, JobStatus.RUNNING]
    for event in WORK:
        worker.report(event)
        assert next(watching) == event
    worker.fail("No images.", "Import some.")
    assert _states(list(watching)) == [JobStatus.FAILED]


def test_what_is_not_a_number_stays_so(worker: Worker, job: Job[EvaluationResult]) -> None:
    point = MetricsEvent(series="step", step=1, values={"loss": math.nan, "lr": 0.1})
    worker.report(point)
    worker.succeed(full_evaluation())
    (metrics,) = (event for event in job.watch() if isinstance(event, MetricsEvent))
    assert math.isnan(metrics.values["loss"])
    assert metrics.values["lr"] == 0.1


def test_a_line_that_breaks_anywhere_costs_no_event_and_repeats_none(
    web: str, worker: Worker, job: Job[EvaluationResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut before the answer, in its header, between events and in the middle of a character."""
    for part in (events, transport):
        monkeypatch.setattr(part, "_WAITS_S", (0.0,) * 40)
    worker.report(*WORK)
    worker.succeed(full_evaluation())
    whole = list(job.watch())
    lengths = [0, 1, 200, *range(450, 2200, 53)]
    with line_to(web, *lengths) as line, Lab(line.url) as lossy:
        assert list(lossy.job(job.id).watch()) == whole
        assert line.made > 5


def test_a_line_breaks_while_a_job_runs(
    web: str, lab: Service, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_WAITS_S", (0.01,) * 40)
    texts = [f"{burst}.{line}" for burst in range(40) for line in range(5)]

    def work() -> None:
        for start in range(0, len(texts), 5):
            worker.report(*(LogEvent(text=text) for text in texts[start : start + 5]))
        worker.succeed(full_evaluation())

    thread = threading.Thread(target=work)
    with line_to(web, 2000, *range(500, 3000, 100)) as line, Lab(line.url) as lossy:
        watched = lossy.job(worker.claim.job_id)
        thread.start()
        told = [event.text for event in watched.watch() if isinstance(event, LogEvent)]
        assert line.made > 10
    thread.join()
    assert told == texts


def test_a_lab_that_stays_away_is_given_up(
    web: str, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_WAITS_S", (0.01,) * 3)
    worker.report(*(LogEvent(text=f"line {number}") for number in range(100)))
    seen: list[Event] = []
    with line_to(web, 2500, *[0] * 20) as line, Lab(line.url) as lossy:
        job = lossy.job(worker.claim.job_id)
        with pytest.raises(LabError) as caught:
            seen.extend(job.watch())
    assert seen
    assert caught.value.title == "The lab does not answer"


def test_an_unknown_job_is_not_waited_for(job: Job[EvaluationResult]) -> None:
    job.view = job.view.model_copy(update={"id": "0" * 32})
    with pytest.raises(LabError) as caught:
        list(job.watch())
    assert (caught.value.status, caught.value.detail) == (404, "There is no such job.")


def test_a_result_is_waited_for_and_is_what_the_worker_wrote(
    web: str, worker: Worker, job: Job[EvaluationResult]
) -> None:
    written = full_evaluation()
    assert job.view.status is JobStatus.RUNNING
    ending = threading.Timer(0.3, worker.succeed, [written])
    ending.start()
    assert job.result() == written
    ending.join()
    assert job.view.status is JobStatus.SUCCEEDED
    raw = httpx.get(f"{web}/api/jobs/{job.id}/result").json()
    assert json.loads(written.model_dump_json()) == raw


def test_a_failed_job_says_why(worker: Worker, job: Job[EvaluationResult]) -> None:
    worker.fail("The model has other classes.", "Choose another.")
    assert job.wait().view.status is JobStatus.FAILED
    with pytest.raises(LabError) as caught:
        job.result()
    error = caught.value
    assert (error.title, error.detail, error.hint) == (
        "The job failed", "The model has other classes.", "Choose another.",
    )  # fmt: skip


def test_progress_without_a_terminal_is_lines(
    worker: Worker, job: Job[EvaluationResult], capfd: pytest.CaptureFixture[str]
) -> None:
    steps = [ProgressEvent(done=n, total=100, phase="PGD", eta_s=100.0 - n) for n in range(100)]
    worker.report(*steps)
    worker.report(LogEvent(text="colours: \x1b[31m and \x07 bells"))
    ending = threading.Timer(0.3, worker.fail, ["No memory.", ""])
    ending.start()
    job.wait(progress=True)
    ending.join()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.isprintable() or set(err) - {"\n"} == {c for c in err if c.isprintable()}
    lines = err.splitlines()
    assert 12 <= len(lines) <= 17  # a line for each tenth of the way, each state, and the log
    assert any(line.split() == ["50", "%", "PGD,", "50", "s", "left"] for line in lines)
    assert lines[-1].endswith("failed")


@pytest.mark.parametrize("name", ["report.pdf", "report", "archive.html.gz"])
def test_an_export_has_a_form(job: Job[EvaluationResult], name: str) -> None:
    with pytest.raises(LabError) as caught:
        job.export(name)
    assert caught.value.field == "path"
    assert ".json, .csv, .html" in caught.value.detail


def test_images_are_exported_as_csv_alone(job: Job[EvaluationResult]) -> None:
    with pytest.raises(LabError) as caught:
        job.export("images.json", images=True)
    assert caught.value.field == "path"


def test_only_an_evaluation_is_exported(api: Lab, dataset: str, tmp_path: Path) -> None:
    training = api.train("Model", dataset=dataset)
    with pytest.raises(LabError) as caught:
        training.export(tmp_path / "report.html")
    assert caught.value.title == "Not an evaluation"
    assert list(tmp_path.glob("*.html")) == []
