"""Trainings that end early: given back, cancelled, lost; and how they go on, or why they cannot."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest
import torch
from sqlalchemy import update

from app.contracts.events import LogLevel
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import TrainParams
from app.store import jobs, losses
from app.store.tables import JobRow
from tests.jobs.runs import add_job, every_look, row_of, run
from tests.jobs.trainings import Workshop, judge_clean, lines, models_of, open_workshop, train
from worker.job_run import run_job
from worker.jobs import saves
from worker.jobs.context import WorkerLab
from worker.jobs.saves import latest

pytestmark = pytest.mark.trains


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    torch.set_num_threads(1)
    return open_workshop(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def whole(shop: Workshop) -> str:
    """The checksum of a student that nothing interrupted."""
    return train(shop.lab, shop.student(ema_decay=0.5)).sha256


class _StopAfter:
    """Asks the worker to stop once it has looked so often."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("looks", [0, 2, 4, 5, 7])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    shop: Workshop, whole: str, looks: int
) -> None:
    job_id = add_job(shop.lab, JobKind.TRAIN, shop.student(ema_decay=0.5))
    assert run_job(shop.lab, job_id, stopping=_StopAfter(looks)) is None
    assert row_of(shop.lab, job_id).status == JobStatus.QUEUED
    assert row_of(shop.lab, job_id).attempt == 0
    assert run_job(shop.lab, job_id, stopping=lambda: False) is JobStatus.SUCCEEDED
    assert models_of(shop.lab, row_of(shop.lab, job_id))[0].sha256 == whole


def _at_look(look: int, act: Callable[[], Any]) -> Callable[[], bool]:
    """A worker that nobody stops, but something happens when it looks for the n-th time."""
    left = look

    def stopping() -> bool:
        nonlocal left
        left -= 1
        if left == 0:
            act()
        return False

    return stopping


def _cancelled(shop: Workshop, params: TrainParams, look: int) -> str:
    job_id = add_job(shop.lab, JobKind.TRAIN, params)
    cancel = _at_look(look, lambda: jobs.request_cancel(shop.lab.database, job_id))
    assert run_job(every_look(shop.lab), job_id, stopping=cancel) is JobStatus.CANCELLED
    return job_id


def _continuing(job_id: str, params: TrainParams) -> TrainParams:
    return params.model_copy(update={"continue_from": job_id, "name": "Continued"})


def test_a_cancelled_run_is_continued_by_another_job(shop: Workshop, whole: str) -> None:
    params = shop.student(ema_decay=0.5)
    cancelled = _cancelled(shop, params, look=3)
    continued = run(shop.lab, JobKind.TRAIN, _continuing(cancelled, params))
    assert continued.status == JobStatus.SUCCEEDED
    assert "Going on after 3 steps." in lines(shop.lab, continued.id, LogLevel.INFO)
    assert models_of(shop.lab, continued)[0].sha256 == whole
    assert shop.lab.files.checkpoints(cancelled).exists(), "it can be continued again"


def test_a_continued_run_has_the_best_weights_of_its_own(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Continued, interrupted, the first job's checkpoint gone; and the best epoch came before."""
    params = shop.params(epochs=4, batch_size=32)
    seen = (5, 9, 7, 3)
    judge_clean(monkeypatch, *seen, *seen)
    best, last = models_of(shop.lab, run(shop.lab, JobKind.TRAIN, params))
    assert best.card["epoch"] == 2
    first = _cancelled(shop, params, look=3 * 8 + 4)  # 8 looks an epoch: once a step, and two
    second = add_job(shop.lab, JobKind.TRAIN, _continuing(first, params))
    assert run_job(shop.lab, second, stopping=_StopAfter(2)) is None
    shutil.rmtree(shop.lab.files.checkpoints(first))
    assert run_job(shop.lab, second, stopping=lambda: False) is JobStatus.SUCCEEDED
    found = models_of(shop.lab, row_of(shop.lab, second))
    assert [row.sha256 for row in found] == [best.sha256, last.sha256]


def test_a_run_with_its_checkpoint_gone_is_not_begun_anew_in_silence(shop: Workshop) -> None:
    params = shop.params()
    cancelled = _cancelled(shop, params, look=3)
    (latest(shop.lab.files.checkpoints(cancelled)) / "last.pt").unlink()
    job = run(shop.lab, JobKind.TRAIN, _continuing(cancelled, params))
    assert job.failure is not None
    assert "is gone" in job.failure["detail"]


@pytest.mark.parametrize("other", [{"learning_rate": 0.01}, {"epochs": 3}, {"seed": 5}])
def test_a_run_goes_on_only_with_its_own_parameters(shop: Workshop, other: dict[str, Any]) -> None:
    cancelled = _cancelled(shop, shop.params(), look=3)
    job = run(shop.lab, JobKind.TRAIN, _continuing(cancelled, shop.params(**other)))
    assert job.failure is not None
    assert job.failure["detail"] == "The checkpoint of “Model” is of other parameters."


def _cut(folder: Path) -> None:
    data = (folder / "last.pt").read_bytes()
    (folder / "last.pt").write_bytes(data[: len(data) // 2])


def _empty(folder: Path) -> None:
    (folder / "last.pt").write_bytes(b"")


def _no_checkpoint(folder: Path) -> None:
    (folder / "last.pt").write_bytes(b"These are no weights.")


def _without_best(folder: Path) -> None:
    for best in folder.glob("best-*.pt"):
        best.unlink()


def _of_version_0_2(folder: Path) -> None:
    """Version 0.2.0 knew no averaged weights, no precision, no sums over the epoch."""
    saved = torch.load(folder / "last.pt", weights_only=True)
    known = ("model", "optimizer", "schedule", "sampler", "generators", "best", "validated")
    old = {name: saved[name] for name in known}
    old["best"]["weights"] = saved["model"]
    torch.save(old, folder / "last.pt")


def _of_another_network(folder: Path) -> None:
    saved = torch.load(folder / "last.pt", weights_only=True)
    saved["model"]["head.weight"] = saved["model"]["head.weight"][:, 1:]
    torch.save(saved, folder / "last.pt")


@pytest.mark.parametrize(
    "damage",
    [_cut, _empty, _no_checkpoint, _without_best, _of_version_0_2, _of_another_network],
)
def test_a_checkpoint_that_does_not_fit_is_refused_in_words(
    shop: Workshop, damage: Callable[[Path], None]
) -> None:
    job_id = add_job(shop.lab, JobKind.TRAIN, shop.params())
    assert run_job(shop.lab, job_id, stopping=_StopAfter(6)) is None  # within the second epoch
    damage(latest(shop.lab.files.checkpoints(job_id)))
    assert run_job(shop.lab, job_id, stopping=lambda: False) is JobStatus.FAILED
    failure = row_of(shop.lab, job_id).failure
    assert failure is not None
    assert "another version of the lab" in failure["detail"]
    assert "train from the start" in failure["hint"]


def test_a_checkpoint_is_two_files_and_no_more(shop: Workshop) -> None:
    """What earlier attempts and an interrupted save left goes with the next save, and so do weights
    once the best."""
    job_id = add_job(shop.lab, JobKind.TRAIN, shop.params(epochs=3))
    folder = shop.lab.files.checkpoints(job_id)
    for fence, looks in enumerate((6, 5, 3), start=1):
        (folder / str(fence)).mkdir(parents=True)
        for stale in (".last.pt.0a1b2c3d.part", ".best-1.pt.0a1b2c3d.part", "best-7.pt"):
            (folder / str(fence) / stale).write_bytes(b"half")
        assert run_job(shop.lab, job_id, stopping=_StopAfter(looks)) is None
        assert [path.name for path in folder.iterdir()] == [str(fence)]
        names = sorted(path.name for path in (folder / str(fence)).iterdir())
        assert names[1:] == ["last.pt"]
        assert names[0] in ("best-1.pt", "best-2.pt")


def test_a_checkpoint_of_a_lab_without_fences_is_gone_on_from(shop: Workshop, whole: str) -> None:
    job_id = add_job(shop.lab, JobKind.TRAIN, shop.student(ema_decay=0.5))
    assert run_job(shop.lab, job_id, stopping=_StopAfter(6)) is None
    folder = shop.lab.files.checkpoints(job_id)
    for path in list((folder / "1").iterdir()):
        path.rename(folder / path.name)
    (folder / "1").rmdir()
    assert run_job(shop.lab, job_id, stopping=_StopAfter(0)) is None
    assert [path.name for path in folder.iterdir()] == ["2"]
    assert run_job(shop.lab, job_id, stopping=lambda: False) is JobStatus.SUCCEEDED
    assert "Going on after 3 steps." in lines(shop.lab, job_id, LogLevel.INFO)
    assert models_of(shop.lab, row_of(shop.lab, job_id))[0].sha256 == whole


def _lose(lab: WorkerLab, job_id: str) -> None:
    """The worker does not renew its lease, and the lab gives the job to another one."""
    with lab.database.writing() as session:
        late = update(JobRow).where(JobRow.id == job_id).values(lease_until=time.time() - 1)
        session.execute(late)
    assert losses.release_expired(lab.database, lease_s=60) == [job_id]


@pytest.fixture
def eager(shop: Workshop) -> WorkerLab:
    """Writes a checkpoint after the first step of every attempt."""
    facts = shop.lab.settings.model_copy(update={"checkpoint_s": 1e-6})
    return replace(every_look(shop.lab), settings=facts)


def test_workers_lost_after_a_checkpoint_do_not_add_up(shop: Workshop, eager: WorkerLab) -> None:
    job_id = add_job(eager, JobKind.TRAIN, shop.params(epochs=2, batch_size=32))
    for _ in range(5):
        # The third look comes after the second step; the first step has left a checkpoint.
        assert run_job(eager, job_id, stopping=_at_look(3, lambda: _lose(eager, job_id))) is None
        assert row_of(eager, job_id).status == JobStatus.QUEUED
        assert row_of(eager, job_id).attempt == 1
    assert run_job(eager, job_id, stopping=lambda: False) is JobStatus.SUCCEEDED


def test_workers_lost_without_one_do(shop: Workshop, eager: WorkerLab) -> None:
    job_id = add_job(eager, JobKind.TRAIN, shop.params())
    for attempt in (1, 2, 3):
        assert run_job(eager, job_id, stopping=_at_look(1, lambda: _lose(eager, job_id))) is None
        assert row_of(eager, job_id).attempt == attempt
    row = row_of(eager, job_id)
    assert row.status == JobStatus.FAILED
    assert row.failure is not None
    assert "nothing was gained between" in row.failure["detail"]


class _Disk:
    """Has room for the first bytes of a file while it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full, self._write = False, saves.atomic_write
        monkeypatch.setattr(saves, "atomic_write", self._opened)

    @contextmanager
    def _opened(self, path: Path) -> Iterator[Any]:
        with self._write(path) as stream:
            yield SimpleNamespace(write=partial(self._put, stream), flush=stream.flush)

    def _put(self, stream: BinaryIO, data: bytes) -> int:
        if self.full and stream.tell() > 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return stream.write(data)


def test_a_checkpoint_that_cannot_be_written_is_a_warning(
    shop: Workshop, whole: str, eager: WorkerLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training goes on, tries again, and the checkpoint before stays whole."""
    disk, params = _Disk(monkeypatch), shop.student(ema_decay=0.5)
    folder = shop.lab.files.checkpoints(job_id := add_job(eager, JobKind.TRAIN, params))
    assert run_job(eager, job_id, stopping=_StopAfter(4)) is None
    before = {path: path.read_bytes() for path in latest(folder).iterdir()}
    disk.full = True
    assert run_job(eager, job_id, stopping=_StopAfter(3)) is None
    assert {path: path.read_bytes() for path in latest(folder).iterdir()} == before
    warning = "The checkpoint cannot be written: the disk is full."
    assert [line[: len(warning)] for line in lines(eager, job_id, LogLevel.WARNING)] == [warning]

    def make_room() -> None:
        disk.full = False

    assert run_job(eager, job_id, stopping=_at_look(2, make_room)) is JobStatus.SUCCEEDED
    assert models_of(shop.lab, row_of(shop.lab, job_id))[0].sha256 == whole
