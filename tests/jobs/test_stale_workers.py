"""A worker that lost its job in the midst of a write, and wakes up when another one is done."""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path

import pytest
import torch
from sqlalchemy import update

from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import ImportParams
from app.store import catalogue, losses
from app.store.tables import JobRow
from tests.jobs.runs import add_job, every_look, row_of
from tests.jobs.trainings import Workshop, open_workshop
from worker.job_run import run_job
from worker.jobs.context import WorkerLab

pytestmark = pytest.mark.trains


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    torch.set_num_threads(1)
    return open_workshop(tmp_path_factory.mktemp("lab"))


def named_files(lab: WorkerLab) -> dict[Path, str]:
    """Every file that a row names, with its checksum."""
    named, root = catalogue.named_files(lab.database), lab.settings.data_dir
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for folder, names in named.items()
        for thing in (root / folder).iterdir()
        if thing.name.split(".")[0] in names
        for path in (thing.rglob("*") if thing.is_dir() else [thing])
        if path.is_file()
    }


def lose(lab: WorkerLab, job_id: str) -> None:
    """The lease ends, as it does while a worker is stopped."""
    with lab.database.writing() as session:
        late = update(JobRow).where(JobRow.id == job_id).values(lease_until=1.0)
        session.execute(late)
    assert losses.release_expired(lab.database, lease_s=60) == [job_id]


def stale_in(
    lab: WorkerLab, job_id: str, write: int, monkeypatch: pytest.MonkeyPatch
) -> dict[Path, str] | None:
    """Stop a worker in its n-th write, let another end the job, and wake the first up.

    The files as the other one left them; None where the first makes fewer writes.
    """
    sync, syncs, left = os.fsync, 0, None

    def stopped(file: int) -> None:
        nonlocal syncs, left
        syncs += 1
        if syncs == write:
            lose(lab, job_id)
            assert run_job(lab, job_id, stopping=lambda: False) is JobStatus.SUCCEEDED
            left = named_files(lab)
        sync(file)

    monkeypatch.setattr(os, "fsync", stopped)
    status = run_job(lab, job_id, stopping=lambda: False)
    monkeypatch.setattr(os, "fsync", sync)
    assert (status is None) == (left is not None)
    return left


@pytest.mark.parametrize("kind", [JobKind.IMPORT, JobKind.TRAIN])
def test_it_overwrites_nothing(
    shop: Workshop, kind: JobKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Result, weights, checkpoint: whichever write it was stopped in."""
    facts = shop.lab.settings.model_copy(update={"checkpoint_s": 1e-6})
    lab = WorkerLab(facts, shop.lab.database, shop.lab.files, lambda _: None)
    for write in itertools.count(1):
        images = ImportParams(name=f"Shapes {write}", train_per_class=10)
        job_id = add_job(lab, kind, images if kind is JobKind.IMPORT else shop.params(epochs=1))
        left = stale_in(every_look(lab), job_id, write, monkeypatch)
        if left is None:
            break
        assert named_files(lab) == left
        row = row_of(lab, job_id)
        assert row.result_file == f"{job_id}-2.json"
        for model in catalogue.models(lab.database, limit=2)[0]:
            data = lab.files.weights(model.id).read_bytes()
            assert hashlib.sha256(data).hexdigest() == model.sha256
    assert write > 3, "a result and files beside it"
