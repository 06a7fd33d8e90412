"""What upkeep drops, and what it leaves because somebody may still want it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from app.contracts.jobs import JobStatus
from app.services.lab import Lab
from app.services.upkeep import reconcile
from tests.plugins.rows import job_row

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
    reconcile(lab)
    assert not old.exists()
    assert young.exists()


def test_checkpoints_of_unfinished_jobs_stay_however_old(lab: Lab) -> None:
    long_ago = time.time() - 100 * DAY_S
    running = {"status": JobStatus.RUNNING, "lease_until": time.time() + 1000}
    folders = [checkpoints(lab, created_at=long_ago, **values) for values in ({}, running)]
    reconcile(lab)
    assert all(folder.exists() for folder in folders)


def test_checkpoints_that_another_job_goes_on_from_stay(lab: Lab) -> None:
    ended = {"status": JobStatus.CANCELLED, "finished_at": time.time() - 8 * DAY_S}
    wanted, unwanted = checkpoints(lab, **ended), checkpoints(lab, **ended)
    with lab.database.writing() as session:
        session.add(job_row(params={"continue_from": wanted.name}))
    reconcile(lab)
    assert wanted.exists()
    assert not unwanted.exists()
