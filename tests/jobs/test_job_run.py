"""One attempt of one job: cancelled, lost to another worker, or failed for an unforeseen reason."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import update

from app.contracts.events import LogEvent, StateEvent
from app.contracts.jobs import JobKind, JobStatus, Queue
from app.contracts.params import ImportParams
from app.store import catalogue, jobs
from app.store.tables import JobRow
from tests.jobs.runs import add_job, events_of, open_lab, row_of
from worker.job_run import run_job, run_next
from worker.jobs.context import WorkerLab

_SHAPES = ImportParams(name="Shapes", train_per_class=10)


def _never() -> bool:
    return False


def _acting(lab: WorkerLab, act: object) -> WorkerLab:
    """The lab with a bell that acts when it rings for the first time: the job runs by then."""
    pending = [act]

    def ring(job_id: str) -> None:
        if pending:
            action = pending.pop()
            assert callable(action)
            action(job_id)

    return WorkerLab(lab.settings, lab.database, lab.files, ring)


@pytest.fixture
def lab(tmp_path: Path) -> WorkerLab:
    return open_lab(tmp_path)


def test_a_job_cancelled_while_it_runs_ends_and_leaves_nothing(lab: WorkerLab) -> None:
    job_id = add_job(lab, JobKind.IMPORT, _SHAPES)
    watched = _acting(lab, lambda job: jobs.request_cancel(lab.database, job))
    assert run_job(watched, job_id, stopping=_never) is JobStatus.CANCELLED
    assert catalogue.datasets(lab.database) == []
    assert list((lab.settings.data_dir / "datasets").iterdir()) == []
    states = [e.status for e in events_of(lab, job_id) if isinstance(e, StateEvent)]
    assert states == [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLED]


def test_a_worker_whose_lease_was_lost_changes_nothing_more(lab: WorkerLab) -> None:
    def lose(job_id: str) -> None:
        with lab.database.writing() as session:
            late = update(JobRow).where(JobRow.id == job_id).values(lease_until=time.time() - 1)
            session.execute(late)
        assert jobs.release_expired(lab.database) == [job_id]

    job_id = add_job(lab, JobKind.IMPORT, _SHAPES)
    assert run_job(_acting(lab, lose), job_id, stopping=_never) is None
    row = row_of(lab, job_id)
    assert (row.status, row.attempt) == (JobStatus.QUEUED, 1)
    assert catalogue.datasets(lab.database) == []
    assert run_job(lab, job_id, stopping=_never) is JobStatus.SUCCEEDED


def test_a_job_that_a_stopping_worker_gives_back_keeps_its_attempts(lab: WorkerLab) -> None:
    job_id = add_job(lab, JobKind.IMPORT, _SHAPES)
    assert run_job(lab, job_id, stopping=lambda: True) is None
    assert (row_of(lab, job_id).status, row_of(lab, job_id).attempt) == (JobStatus.QUEUED, 0)


def test_what_was_interrupted_goes_on_before_what_came_later(lab: WorkerLab) -> None:
    first, later = (
        add_job(lab, JobKind.IMPORT, ImportParams(name=name, train_per_class=10))
        for name in ("First", "Later")
    )
    assert run_job(lab, first, stopping=lambda: True) is None
    for job_id, other in ((first, JobStatus.QUEUED), (later, JobStatus.SUCCEEDED)):
        # Each time by the message that names the later one: the first one's is used up.
        assert run_next(lab, Queue.EVALUATE, stopping=_never) is JobStatus.SUCCEEDED
        assert row_of(lab, job_id).status == JobStatus.SUCCEEDED
        assert row_of(lab, later).status == other
    assert run_next(lab, Queue.EVALUATE, stopping=_never) is None


def test_an_unforeseen_error_is_told_and_logged(
    lab: WorkerLab, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = add_job(lab, JobKind.IMPORT, _SHAPES)
    # A disk that fails: the folder for datasets is a file.
    (lab.settings.data_dir / "datasets").rmdir()
    (lab.settings.data_dir / "datasets").write_text("")
    assert run_job(lab, job_id, stopping=_never) is JobStatus.FAILED
    failure = row_of(lab, job_id).failure
    assert failure is not None
    assert "log" in failure["hint"]
    assert "Traceback" in caplog.text
    logs = [e for e in events_of(lab, job_id) if isinstance(e, LogEvent)]
    assert logs[-1].level == "error"
