"""What upkeep drops, and what it leaves because somebody may still want it."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from app.contracts.jobs import JobKind, JobStatus, Queue
from app.contracts.params import ImportModelParams
from app.errors import InvalidInput
from app.services import jobs
from app.services.lab import Lab
from app.services.upkeep import clear, reconcile, sweep
from app.store import catalogue
from app.store.losses import Leases
from app.store.tables import JobRow, ModelRow, UploadRow
from tests.plugins.families import ablation_params, take
from tests.plugins.rows import job_row
from tests.plugins.statements import statements
from tests.plugins.stock import stock_dataset, stock_model

DAY_S = 24 * 3600.0


def checkpoints(lab: Lab, **values: Any) -> Path:
    """The folder that a training left."""
    row = job_row(**values)
    folder = lab.files.checkpoints(row.id)
    folder.mkdir()
    (folder / "checkpoint.pt").write_bytes(b"weights")
    with lab.database.writing() as session:
        session.add(row)
    return folder


@pytest.mark.parametrize("status", [JobStatus.CANCELLED, JobStatus.FAILED])
def test_checkpoints_of_ended_jobs_stay_for_a_week(lab: Lab, status: JobStatus) -> None:
    now = time.time()
    old = checkpoints(lab, status=status, finished_at=now - 8 * DAY_S)
    young = checkpoints(lab, status=status, finished_at=now - 6 * DAY_S)
    clear(lab)
    assert not old.exists()
    assert young.exists()


def test_checkpoints_of_unfinished_jobs_stay_however_old(lab: Lab) -> None:
    long_ago = time.time() - 100 * DAY_S
    running = {"status": JobStatus.RUNNING, "lease_until": time.time() + 1000}
    folders = [checkpoints(lab, created_at=long_ago, **values) for values in ({}, running)]
    clear(lab)
    assert all(folder.exists() for folder in folders)


def test_checkpoints_that_another_job_goes_on_from_stay(lab: Lab) -> None:
    ended = {"status": JobStatus.CANCELLED, "finished_at": time.time() - 8 * DAY_S}
    wanted, unwanted = checkpoints(lab, **ended), checkpoints(lab, **ended)
    with lab.database.writing() as session:
        session.add(job_row(params={"continue_from": wanted.name}))
    clear(lab)
    assert wanted.exists()
    assert not unwanted.exists()


def test_a_checkpoint_that_a_new_job_goes_on_from_stays(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it was submitted while others were dropped, which takes a while in a storage."""
    ended = {"status": JobStatus.CANCELLED, "finished_at": time.time() - 8 * DAY_S}
    folders = {checkpoints(lab, **ended) for _ in range(3)}
    drop, dropped, wanted = lab.files.drop, list[Path](), list[Path]()

    def slow(path: Path) -> None:
        if not wanted:  # when it was known for long which are old
            wanted.append((folders - {path}).pop())
            with lab.database.writing() as session:
                session.add(job_row(params={"continue_from": wanted[0].name}))
        dropped.append(path)
        drop(path)

    monkeypatch.setattr(lab.files, "drop", slow)
    clear(lab)
    assert {*dropped} == folders - {*wanted}
    assert (wanted[0] / "checkpoint.pt").exists()


@pytest.mark.parametrize("status", list(JobStatus))
def test_saves_of_an_evaluation_stay_as_long_as_it_is_not_over(lab: Lab, status: JobStatus) -> None:
    """Those of its parts too, however long ago they were written; nobody goes on from one that is
    over."""
    ended = time.time() if status.is_final else None
    whole = checkpoints(lab, kind=JobKind.EVALUATE, status=status, finished_at=ended)
    parts = [lab.files.checkpoints(whole.name + part) for part in ("-part-0", "-figures")]
    for folder in parts:
        (folder / "1").mkdir(parents=True)
        (folder / "1" / "last.pt").write_bytes(b"measured")
        for path in (folder / "1" / "last.pt", folder / "1", folder):
            os.utime(path, (1.0, 1.0))
    sweep(lab)
    assert all(folder.exists() for folder in parts)
    clear(lab)
    left = [folder.exists() for folder in (whole, *parts)]
    assert left == [not status.is_final] * 3


def test_files_that_no_row_names_go_after_a_day(lab: Lab) -> None:
    named, files = stock_model(lab), lab.files
    with lab.database.writing() as session:
        done = job_row(result_file="done-1.json", status=JobStatus.SUCCEEDED)
        session.add_all([done, job_row(id="old", result_file="old.json")])
    for folder in (files.dataset("d"), files.adversarial("lost-1"), files.checkpoints("gone")):
        folder.mkdir()
        (folder / "file").write_bytes(b"x")
    kept = [files.weights(named), *map(files.result, ("done-1", "old")), files.onnx("done-1")]
    gone = [files.weights("w"), files.upload("u"), files.result("done-2"), files.onnx("done-2")]
    for path in (*kept, *gone):
        path.write_bytes(b"x")
    sweep(lab)
    assert all(path.exists() for path in gone)
    written = [*gone, files.dataset("d"), files.adversarial("lost-1"), files.checkpoints("gone")]
    for path in (*kept, *written, *(each / "file" for each in written if each.is_dir())):
        os.utime(path, (1.0, 1.0))
    fresh = files.adversarial("lost-1") / "file"
    fresh.write_bytes(b"still being written")
    sweep(lab)
    assert [path for path in written if path.exists()] == [fresh.parent]
    assert all(path.exists() for path in kept)


def locks(said: list[str]) -> int:
    """How often the write lock was taken."""
    return sum(statement.startswith("BEGIN IMMEDIATE") for statement in said)


def _upload(lab: Lab, *, age_s: float) -> str:
    row = UploadRow(
        id=uuid.uuid4().hex, filename="photo.jpg", sha256="0" * 64, size_bytes=1,
        created_at=time.time() - age_s,
    )  # fmt: skip
    catalogue.add_upload(lab.database, row)
    return row.id


def test_a_file_that_a_new_job_takes_is_not_cleared_away(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, dataset = _upload(lab, age_s=2 * 3600.0), stock_dataset(lab)
    lab.files.upload(upload).write_bytes(b"weights")
    params = ImportModelParams(name="Net", upload=upload, dataset=dataset, architecture="wrn-10-2")
    drop = catalogue.drop_uploads

    def late(*args: Any, **kwargs: Any) -> list[str]:
        jobs.submit(lab, JobKind.IMPORT_MODEL, params)  # after upkeep looked which are needed
        return drop(*args, **kwargs)

    monkeypatch.setattr(catalogue, "drop_uploads", late)
    clear(lab)
    assert lab.files.upload(upload).exists()
    assert catalogue.upload(lab.database, upload) is not None


def test_no_job_takes_a_file_that_was_cleared_away(lab: Lab) -> None:
    upload, dataset = _upload(lab, age_s=2 * 3600.0), stock_dataset(lab)
    params = ImportModelParams(name="Net", upload=upload, dataset=dataset, architecture="wrn-10-2")
    clear(lab)
    with pytest.raises(InvalidInput, match="no such upload"):
        jobs.submit(lab, JobKind.IMPORT_MODEL, params)


def _binned(lab: Lab, *, age_s: float) -> None:
    model = stock_model(lab)
    with lab.database.writing() as session:
        when = update(ModelRow).where(ModelRow.id == model)
        session.execute(when.values(deleted_at=time.time() - age_s))


def _busy(lab: Lab) -> None:
    """Something for every step of the upkeep to look at, none of which is due."""
    now = time.time()
    training = {"dataset": stock_dataset(lab), "teacher": stock_model(lab)}
    jobs.submit(lab, JobKind.ABLATION, ablation_params(training=training))
    needed, _ = _upload(lab, age_s=2 * 3600.0), _upload(lab, age_s=60.0)
    _binned(lab, age_s=6 * DAY_S)
    checkpoints(lab, status=JobStatus.CANCELLED, finished_at=now - 6 * DAY_S)
    with lab.database.writing() as session:
        session.add(job_row(status=JobStatus.RUNNING, lease_until=now + 1000))
        session.add(job_row(sent_at=now, params={"upload": needed}))
    reconcile(lab)  # tells of the ablation's first training


def test_a_lab_in_which_nothing_is_due_takes_no_write_lock(lab: Lab) -> None:
    _busy(lab)
    with statements() as said:
        reconcile(lab)
        clear(lab)
    assert locks(said) == 0


def _lose(lab: Lab) -> None:
    with lab.database.writing() as session:
        session.add(job_row(status=JobStatus.RUNNING, attempt=1, lease_until=time.time() - 1))


def _begin_a_training(lab: Lab) -> None:
    with lab.database.reading() as session:
        child = session.scalars(select(JobRow).where(JobRow.parent_id.is_not(None))).first()
    assert child is not None
    take(lab.database, child.id)


def _send(lab: Lab) -> None:
    with lab.database.writing() as session:
        session.add(job_row(queue=Queue.LIVE))


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "happen",
    [
        _lose,
        _begin_a_training,
        _send,
        lambda lab: _upload(lab, age_s=2 * 3600.0),
        lambda lab: _binned(lab, age_s=8 * DAY_S),
    ],
    ids=["a lost job", "a parent that follows", "an unsent job", "an old upload", "an old model"],
)
def test_what_is_due_is_written_once(lab: Lab, happen: Callable[[Lab], object]) -> None:
    lab = replace(lab, leases=Leases(0))
    _busy(lab)
    happen(lab)
    with statements() as said:
        reconcile(lab)
        clear(lab)
    assert locks(said) == 1
    with statements() as said:
        reconcile(lab)
        clear(lab)
    assert locks(said) == 0
