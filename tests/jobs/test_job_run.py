"""One attempt of one job: cancelled, lost to another worker, or failed for an unforeseen reason."""

from __future__ import annotations

import errno
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel
from sqlalchemy import text, update

from app.contracts.events import LogEvent, StateEvent
from app.contracts.jobs import JobKind, JobStatus, Queue
from app.contracts.params import EvaluateParams, ImportParams, Params, TrainParams
from app.store import catalogue, jobs, losses, schema
from app.store.db import Database
from app.store.files import Files
from app.store.tables import JobRow
from tests.jobs.runs import add_job, events_of, lock, open_lab, row_of
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


def test_what_a_worker_left_that_died_with_its_result_written_goes_with_the_next_one(
    lab: WorkerLab,
) -> None:
    job_id = add_job(lab, JobKind.IMPORT, _SHAPES)
    died = jobs.claim(lab.database, job_id, lease_s=-1)
    assert died is not None
    left = lab.files.root / "results" / lab.files.write_result(died.result_name, _SHAPES)
    kept = lab.files.adversarial(died.result_name)
    kept.mkdir()
    other = lab.files.root / "results" / lab.files.write_result("b" * 32 + "-1", _SHAPES)
    losses.release_expired(lab.database, lease_s=60)
    assert run_job(lab, job_id, stopping=_never) is JobStatus.SUCCEEDED
    assert not left.exists()
    assert not kept.exists()
    assert other.exists()
    assert lab.files.result(row_of(lab, job_id).result_name).exists()


def test_a_worker_whose_lease_was_lost_changes_nothing_more(lab: WorkerLab) -> None:
    def lose(job_id: str) -> None:
        with lab.database.writing() as session:
            late = update(JobRow).where(JobRow.id == job_id).values(lease_until=time.time() - 1)
            session.execute(late)
        assert losses.release_expired(lab.database, lease_s=60) == [job_id]

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


def test_a_worker_takes_nothing_on_a_schema_that_its_code_does_not_know(
    lab: WorkerLab, caplog: pytest.LogCaptureFixture
) -> None:
    job_id, known = add_job(lab, JobKind.IMPORT, _SHAPES), schema.LATEST

    def at(revision: str) -> None:
        with lab.database.writing() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :at"), {"at": revision})

    for revision, version in (("9900", "a newer"), ("0001", "an older")):
        at(revision)
        assert run_next(lab, Queue.EVALUATE, stopping=_never) is None
        assert f"The database is of {version} version of the lab" in caplog.text
    at(known)
    assert row_of(lab, job_id).attempt == 0
    assert run_next(lab, Queue.EVALUATE, stopping=_never) is JobStatus.SUCCEEDED


def _full(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The disk has no room for the next results."""
    write, left = Files.write_result, times

    def refused(files: Files, name: str, result: BaseModel) -> str:
        nonlocal left
        left -= 1
        if left >= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(files, name, result)

    monkeypatch.setattr(Files, "write_result", refused)


def test_a_job_that_fills_the_disk_is_tried_again_when_there_is_room(
    lab: WorkerLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    _full(monkeypatch, times=1)
    job_id = add_job(lab, JobKind.IMPORT, _SHAPES)
    assert run_next(lab, Queue.EVALUATE, stopping=_never) is None
    assert row_of(lab, job_id).status == JobStatus.QUEUED
    assert list((lab.settings.data_dir / "datasets").iterdir()) == [], "what no row names goes"
    logs = [e.text for e in events_of(lab, job_id) if isinstance(e, LogEvent)]
    assert logs[-1] == "Attempt 1 ended: The disk is full. The job goes on when that is over."
    crowded = lab.settings.model_copy(update={"min_free_mb": 2**40})
    assert run_next(replace(lab, settings=crowded), Queue.EVALUATE, stopping=_never) is None
    assert row_of(lab, job_id).fence == 1, "nothing begins before there is room"
    assert run_next(lab, Queue.EVALUATE, stopping=_never) is JobStatus.SUCCEEDED


def test_one_that_always_fills_the_disk_fails_and_says_so(
    lab: WorkerLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    _full(monkeypatch, times=3)
    job_id = add_job(lab, JobKind.IMPORT, _SHAPES)
    for _ in range(3):
        assert run_next(lab, Queue.EVALUATE, stopping=_never) is None
    failure = row_of(lab, job_id).failure
    assert failure is not None
    assert failure["detail"].startswith("The disk is full. 3 attempts")
    assert "Make room" in failure["hint"]


@pytest.mark.parametrize("stops", [False, True])
def test_a_job_outlasts_a_locked_database(lab: WorkerLab, stops: bool) -> None:
    """While it runs, and when its worker is stopped: the attempt does not count then."""
    hasty = replace(lab, database=Database(lab.database.url, patience_s=0.02))
    job_id = add_job(lab, JobKind.IMPORT, _SHAPES)
    watched = _acting(hasty, lambda _: lock(lab))
    status = run_job(watched, job_id, stopping=lambda: stops)
    row = row_of(lab, job_id)
    assert (status is None, row.status, row.attempt) == (
        (True, JobStatus.QUEUED, 0) if stops else (False, JobStatus.SUCCEEDED, 1)
    )
    hasty.database.close()


_GPU = {"dataset": "0" * 32, "device": "gpu"}


@pytest.mark.parametrize(
    ("kind", "params", "needs"),
    [
        (JobKind.TRAIN, TrainParams.model_validate({"name": "Net", **_GPU}), "a GPU"),
        (
            JobKind.TRAIN,
            TrainParams.model_validate({"name": "Net", "processes": 4, **_GPU}),
            "4 GPUs",
        ),
        (
            JobKind.EVALUATE,
            EvaluateParams.model_validate({"models": ["1" * 32], **_GPU}),
            "a GPU",
        ),
    ],
    ids=["training", "training of several processes", "evaluation"],
)
def test_who_asks_for_a_gpu_is_not_served_by_a_cpu(
    lab: WorkerLab, monkeypatch: pytest.MonkeyPatch, kind: JobKind, params: Params, needs: str
) -> None:
    """Also where the driver lists a GPU that torch cannot use."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    job_id = add_job(lab, kind, params)
    assert run_job(lab, job_id, stopping=_never) is JobStatus.FAILED
    failure = row_of(lab, job_id).failure
    assert failure is not None
    assert failure["detail"] == f"It needs {needs}, and torch finds none in this worker."
    assert failure["field"] == "device"


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
