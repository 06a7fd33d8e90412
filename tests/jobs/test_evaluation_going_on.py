"""Evaluations whose workers die or are stopped, and how they go on: with the same figures."""

from __future__ import annotations

import itertools
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import delete, update

from app.contracts.events import LogEvent, ProgressEvent
from app.contracts.jobs import MAX_ATTEMPTS, JobKind, JobStatus
from app.contracts.params import EvaluateParams, Method
from app.contracts.results import EvaluationResult
from app.store import losses, shards
from app.store.db import Database
from app.store.tables import JobRow, ShardRow
from tests.jobs.evaluations import evaluate, small, untimed
from tests.jobs.measured import Measured
from tests.jobs.runs import add_job, events_of, lock, open_lab, row_of
from tests.plugins.forked import apart
from worker.job_run import run_job
from worker.jobs.bookmark import Bookmark, part_of
from worker.jobs.concluded import Concluded
from worker.jobs.context import WorkerLab
from worker.jobs.gathering import Gathering
from worker.jobs.save_pace import SavePace
from worker.jobs.saves import LAST, latest, read, write


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Dead(BaseException):
    """Ends a worker, as nothing that it handles does."""


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stage is written to the disk."""
    monkeypatch.setattr(SavePace, "is_due", lambda _: True)


def everything(measured: Measured) -> EvaluateParams:
    """Whatever keeps something from batch to batch, on two batches of both models."""
    return small(
        measured, images=12, batch_size=8, further=(Method.SQUARE, Method.ADAPTIVE), queries=20,
        epsilons=(0, 0.5 / 255, 2 / 255), minimal_epsilon=True, attention=True, corruptions=True,
        embedding=True, keep_adversarial=6,
    )  # fmt: skip


def result_of(measured: Measured, job_id: str) -> EvaluationResult:
    path = measured.lab.files.result(row_of(measured.lab, job_id).result_name)
    return untimed(EvaluationResult.model_validate_json(path.read_bytes()))


def kept_by(measured: Measured, job_id: str) -> dict[str, bytes]:
    folder = measured.lab.files.adversarial(row_of(measured.lab, job_id).result_name)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def lose(measured: Measured, job_id: str) -> None:
    with measured.lab.database.writing() as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(lease_until=1.0))
        session.execute(update(ShardRow).where(ShardRow.lease_until > 0).values(lease_until=1.0))
    assert losses.release_expired(measured.lab.database, lease_s=60) == [job_id]


def after_looks(count: int) -> Callable[[], bool]:
    """Whether a worker was asked to stop: yes, once the job has looked so often."""
    looks = itertools.count(1)
    return lambda: next(looks) > count


@pytest.mark.slow
def test_one_that_dies_after_every_stage_has_the_same_figures(
    measured: Measured, eager: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is not given up, however often its worker dies: each of them gets a stage further."""
    params, left = everything(measured), 0

    def mortal(save: Callable[..., Any]) -> Callable[..., None]:
        def then_dies(self: Any, *of: Any) -> None:
            nonlocal left
            save(self, *of)
            left -= 1
            if left == 0:
                raise Dead

        return then_dies

    whole = add_job(measured.lab, JobKind.EVALUATE, params)
    assert run_job(measured.lab, whole, stopping=lambda: False) is JobStatus.SUCCEEDED
    monkeypatch.setattr(Bookmark, "mark", mortal(Bookmark.mark))
    monkeypatch.setattr(Concluded, "add", mortal(Concluded.add))
    torn, deaths = add_job(measured.lab, JobKind.EVALUATE, params), 0
    while True:
        left = 1
        try:
            run_job(measured.lab, torn, stopping=lambda: False)
            break
        except Dead:
            lose(measured, torn)
        deaths += 1
    assert deaths == 2 * 2 * 11 + 2, "after each stage of each batch, and after each model"
    assert row_of(measured.lab, torn).status == JobStatus.SUCCEEDED
    assert result_of(measured, torn) == result_of(measured, whole)
    assert kept_by(measured, torn) == kept_by(measured, whole)
    assert not measured.lab.files.all_checkpoints(torn)


def test_one_whose_workers_die_and_gain_nothing_is_given_up(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first of them measured is no gain of those that find it."""
    params = small(measured, images=8, batch_size=4, epsilons=(), step_counts=())
    job_id = add_job(measured.lab, JobKind.EVALUATE, params)

    def dies(*_: object) -> None:
        raise Dead

    monkeypatch.setattr("worker.jobs.evaluation._samples", dies)
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(Dead):
            run_job(measured.lab, job_id, stopping=lambda: False)
        lose(measured, job_id)
    assert row_of(measured.lab, job_id).status == JobStatus.FAILED


def test_one_outlasts_a_locked_database(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = small(measured, images=4, batch_size=4, epsilons=(), step_counts=())
    job_id = add_job(measured.lab, JobKind.EVALUATE, params)
    hasty = replace(measured.lab, database=Database(measured.lab.database.url, patience_s=0.02))
    for name in ("divide", "claim_of", "drop"):
        monkeypatch.setattr(shards, name, _locked_first(getattr(shards, name), measured.lab))
    assert run_job(hasty, job_id, stopping=lambda: False) is JobStatus.SUCCEEDED
    hasty.database.close()


def _locked_first(call: Callable[..., Any], lab: WorkerLab) -> Callable[..., Any]:
    pending = [lock]

    def locked(*of: Any, **facts: Any) -> Any:
        if pending:
            pending.pop()(lab)
        return call(*of, **facts)

    return locked


def _await_save(measured: Measured, job_id: str, *, since: float) -> None:
    """Until an attempt has gained something, or nothing is left to gain."""
    while not JobStatus(row_of(measured.lab, job_id).status).is_final:
        for folder in measured.lab.files.all_checkpoints(job_id):
            with suppress(FileNotFoundError):  # it is being replaced
                if any(path.stat().st_mtime > since for path in folder.rglob("*.pt")):
                    return
        time.sleep(0.02)


def _kill_again_and_again(measured: Measured, job_id: str, rng: random.Random, most: int) -> int:
    """Run it by one worker after the other, of which at most so many are killed; how many were."""
    folder, facts = measured.lab.settings.data_dir, {"lease_s": 0.3, "checkpoint_s": 0.001}
    kills = 0
    while not JobStatus(row_of(measured.lab, job_id).status).is_final:
        began, worker = time.time(), apart(_run, folder, facts, job_id)
        if kills < most:
            _await_save(measured, job_id, since=began)
            time.sleep(rng.uniform(0.0, 0.3))
            worker.kill()
        worker.join()
        killed = worker.exitcode == -signal.SIGKILL
        assert killed or worker.exitcode == 0
        if killed and row_of(measured.lab, job_id).status == JobStatus.RUNNING:
            kills += 1
            lose(measured, job_id)
    return kills


def _run(folder: Path, facts: dict[str, float], job_id: str) -> None:
    run_job(open_lab(folder, **facts), job_id, stopping=lambda: False)


@pytest.mark.slow
def test_one_that_is_killed_at_ten_random_moments_has_the_same_figures(measured: Measured) -> None:
    """By SIGKILL, as the kernel does it: half-written files, held locks and all. Where it ends
    before the tenth, the others hit another one."""
    params, rng, kills = everything(measured), random.Random(7), 0
    whole = add_job(measured.lab, JobKind.EVALUATE, params)
    assert run_job(measured.lab, whole, stopping=lambda: False) is JobStatus.SUCCEEDED
    while kills < 10:
        torn = add_job(measured.lab, JobKind.EVALUATE, params)
        kills += _kill_again_and_again(measured, torn, rng, 10 - kills)
        row = row_of(measured.lab, torn)
        assert row.status == JobStatus.SUCCEEDED, row.failure
        assert result_of(measured, torn) == result_of(measured, whole)
        assert kept_by(measured, torn) == kept_by(measured, whole)


def test_one_that_another_worker_ended_meanwhile_is_left_without_a_fault(
    measured: Measured, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its parts are gone, as who was stopped for long finds them."""
    params = small(measured, images=8, batch_size=4, epsilons=(), step_counts=())
    job_id = add_job(measured.lab, JobKind.EVALUATE, params)
    took, stopped = Gathering._took_one, list[Gathering]()

    def late(self: Gathering) -> bool:
        if not stopped:
            stopped.append(self)
            lose(measured, job_id)
            assert run_job(measured.lab, job_id, stopping=lambda: False) is JobStatus.SUCCEEDED
        return took(self)

    monkeypatch.setattr(Gathering, "_took_one", late)
    run_job(measured.lab, job_id, stopping=lambda: False)
    assert row_of(measured.lab, job_id).status == JobStatus.SUCCEEDED
    assert not [record for record in caplog.records if record.exc_info]


def test_one_that_is_stopped_goes_on_and_its_progress_does_not_fall(measured: Measured) -> None:
    params = small(measured, images=8, batch_size=4, epsilons=(), step_counts=())
    job_id = add_job(measured.lab, JobKind.EVALUATE, params)
    for _ in range(2):
        assert run_job(measured.lab, job_id, stopping=after_looks(60)) is None
    assert run_job(measured.lab, job_id, stopping=lambda: False) is JobStatus.SUCCEEDED
    assert result_of(measured, job_id) == untimed(evaluate(measured, params))
    events = events_of(measured.lab, job_id)
    told = [event.text for event in events if isinstance(event, LogEvent)]
    assert not [text for text in told if "anew" in text]
    assert [e.done for e in events if isinstance(e, ProgressEvent)][-1] > 0


def _damage(page: Path) -> None:
    page.write_bytes(page.read_bytes()[:1000])


def _of_another_version(page: Path) -> None:
    kept = read(page)
    kept["facts"] = "0.1.0"
    write(page, kept)


@pytest.mark.parametrize("spoil", [_damage, _of_another_version])
def test_figures_of_another_version_are_not_mixed_with_its_own(
    measured: Measured, eager: None, spoil: Any
) -> None:
    params = small(measured, images=8, batch_size=4, epsilons=(), step_counts=())
    job_id = add_job(measured.lab, JobKind.EVALUATE, params)
    assert run_job(measured.lab, job_id, stopping=after_looks(60)) is None
    spoil(latest(measured.lab.files.checkpoints(job_id + part_of(0))) / LAST)
    assert run_job(measured.lab, job_id, stopping=lambda: False) is JobStatus.SUCCEEDED
    assert result_of(measured, job_id) == untimed(evaluate(measured, params))
    told = [event.text for event in events_of(measured.lab, job_id) if isinstance(event, LogEvent)]
    assert any("damaged" in text for text in told)


def _of_earlier_parts(measured: Measured, job_id: str) -> None:
    """Two of its parts were begun where figures would be others."""
    with measured.lab.database.writing() as session:
        session.execute(update(ShardRow).where(ShardRow.job_id == job_id).values(facts="0.2.0"))


def _of_before_there_were_parts(measured: Measured, job_id: str) -> None:
    """As version 0.2.0 kept an evaluation: one page for all of it, and no rows of parts."""
    files = measured.lab.files
    with measured.lab.database.writing() as session:
        session.execute(delete(ShardRow).where(ShardRow.job_id == job_id))
    for path in files.all_checkpoints(job_id):
        files.drop(path)
    folder = files.checkpoints(job_id) / "1"
    folder.mkdir(parents=True)
    write(folder / LAST, {"facts": {"code_version": "0.2.0"}, "chunk": 1, "model": 0})


@pytest.mark.parametrize("before", [_of_earlier_parts, _of_before_there_were_parts])
def test_one_that_a_later_version_cannot_go_on_with_says_once_that_it_begins_anew(
    measured: Measured, eager: None, before: Callable[[Measured, str], None]
) -> None:
    params = small(measured, images=8, batch_size=4, epsilons=(), step_counts=())
    job_id = add_job(measured.lab, JobKind.EVALUATE, params)
    for looks in (60, 6):
        assert run_job(measured.lab, job_id, stopping=after_looks(looks)) is None
        if looks == 60:
            before(measured, job_id)
    assert run_job(measured.lab, job_id, stopping=lambda: False) is JobStatus.SUCCEEDED
    assert result_of(measured, job_id) == untimed(evaluate(measured, params))
    told = [event.text for event in events_of(measured.lab, job_id) if isinstance(event, LogEvent)]
    assert len([text for text in told if "anew" in text]) == 1
    assert not measured.lab.files.all_checkpoints(job_id)
