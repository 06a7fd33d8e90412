"""Evaluations that several workers measure together: the same figures, whatever befalls one."""

from __future__ import annotations

import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import delete, func, select, update

from app.contracts.events import LogEvent
from app.contracts.jobs import MAX_ATTEMPTS, JobKind, JobStatus, Queue
from app.contracts.params import EvaluateParams, Method
from app.contracts.results import EvaluationResult
from app.errors import Damaged, JobError
from app.store import job_queries, jobs, shards
from app.store.files import Files
from app.store.tables import JobRow, ShardRow
from tests.jobs.evaluations import evaluate, small, untimed
from tests.jobs.measured import Measured
from tests.jobs.runs import add_job, events_of, open_lab, row_of
from tests.plugins.forked import apart
from worker.job_run import help_out, load, run_job, run_next
from worker.jobs import attacking, sharding
from worker.jobs.bookmark import Bookmark, part_of
from worker.jobs.context import JobContext, WorkerLab
from worker.jobs.gathering import Gathering
from worker.jobs.ground import Ground
from worker.jobs.saves import LAST, latest
from worker.models import Classifier, frozen


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def divided(measured: Measured) -> EvaluateParams:
    """Eight parts: four batches before two models."""
    return small(
        measured, images=12, batch_size=3, further=(Method.SQUARE, Method.APGD_T), queries=20,
        epsilons=(), step_counts=(), attention=True, keep_adversarial=5,
    )  # fmt: skip


def result_of(measured: Measured, job_id: str) -> EvaluationResult:
    path = measured.lab.files.result(row_of(measured.lab, job_id).result_name)
    return untimed(EvaluationResult.model_validate_json(path.read_bytes()))


def is_over(lab: WorkerLab, job_id: str) -> bool:
    row = job_queries.get(lab.database, job_id)
    return row is not None and JobStatus(row.status).is_final


def count_of(lab: WorkerLab) -> int:
    with lab.database.reading() as session:
        return session.scalar(select(func.count()).select_from(ShardRow)) or 0


_HAD_A_PART = 7
"""How a helper ends then; one that fails ends with 1."""


def helpers(measured: Measured, job_id: str, count: int) -> list[BaseProcess]:
    """Processes that help until the job is over, and wait for it."""
    folder, waiting = measured.lab.settings.data_dir, get_context("forkserver").Barrier(count + 1)
    processes = [apart(_help_until_over, folder, job_id, waiting) for _ in range(count)]
    waiting.wait(120)
    return processes


def _help_until_over(folder: Path, job_id: str, waiting: Barrier) -> None:
    lab, helped = open_lab(folder), False
    load()
    waiting.wait(120)
    while not is_over(lab, job_id):
        helped = help_out(lab, stopping=lambda: False) or helped
        time.sleep(0.2)
    sys.exit(_HAD_A_PART if helped else 0)


def helped(processes: list[BaseProcess]) -> int:
    for process in processes:
        process.join()
    return sum(process.exitcode == _HAD_A_PART for process in processes)


@pytest.mark.slow
@pytest.mark.trains
def test_any_number_of_workers_gives_the_same_figures(measured: Measured) -> None:
    params = divided(measured)
    alone = untimed(evaluate(measured, params))
    for count in (2, 5):
        job_id = add_job(measured.lab, JobKind.EVALUATE, params)
        processes = helpers(measured, job_id, count - 1)
        assert run_job(measured.lab, job_id, stopping=lambda: False) is JobStatus.SUCCEEDED
        assert helped(processes) == count - 1
        assert result_of(measured, job_id).model_copy(update={"pace": None}) == alone.model_copy(
            update={"pace": None}
        )
        assert count_of(measured.lab) == 0
        assert not measured.lab.files.all_checkpoints(job_id)


@pytest.mark.slow
def test_a_lost_helper_costs_its_part_only(measured: Measured) -> None:
    params, lab = divided(measured), measured.lab
    job_id = add_job(lab, JobKind.EVALUATE, params)
    gathered(lab, job_id)
    is_now(lab, job_id, JobStatus.RUNNING)
    helper = apart(_help, lab.settings.data_dir)
    while sum(part.finished for part in shards.of_job(lab.database, job_id)) < 3:
        time.sleep(0.02)
    helper.kill()
    helper.join()
    done = [part for part in shards.of_job(lab.database, job_id) if part.finished]
    assert len(done) in (3, 4)
    is_now(lab, job_id, JobStatus.QUEUED)
    assert run_job(lab, job_id, stopping=lambda: False) is JobStatus.SUCCEEDED
    assert result_of(measured, job_id) == untimed(evaluate(measured, params))


def _help(folder: Path) -> None:
    help_out(open_lab(folder, lease_s=0.5), stopping=lambda: False)


def is_now(lab: WorkerLab, job_id: str, status: JobStatus) -> None:
    """As though a worker had it, or not: helpers make room for an evaluation that waits."""
    with lab.database.writing() as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(status=status))


def gathered(lab: WorkerLab, job_id: str) -> Gathering:
    """The parts of a queued evaluation, as a worker leaves them that was lost at once."""
    is_now(lab, job_id, JobStatus.RUNNING)
    row = row_of(lab, job_id)
    params = EvaluateParams.model_validate(row.params)
    with JobContext(lab, jobs.Claim.of(row, row.fence), lambda: False) as context:
        ground = Ground(context, params)
        models = [ground.measurement(model) for model in range(len(params.models))]
        gathering = Gathering(context, ground, models, 1.0)
    is_now(lab, job_id, JobStatus.QUEUED)
    return gathering


def next_part(lab: WorkerLab, job_id: str) -> shards.ShardClaim | None:
    row = row_of(lab, job_id)
    holder = jobs.Claim.of(row, row.fence)
    return shards.claim_of(lab.database, holder, worker="w", lease_s=60)


def claimed(lab: WorkerLab, job_id: str) -> shards.ShardClaim:
    claim = next_part(lab, job_id)
    assert claim is not None
    return claim


@pytest.fixture
def queued(measured: Measured) -> Iterator[str]:
    """A small evaluation of two parts that its worker has divided."""
    params = small(measured, images=8, batch_size=4, models=(measured.student,), epsilons=())
    job_id = add_job(measured.lab, JobKind.EVALUATE, params)
    gathered(measured.lab, job_id)
    yield job_id
    with measured.lab.database.writing() as session:
        session.execute(delete(ShardRow))
        session.execute(update(JobRow).values(status=JobStatus.CANCELLED))


def test_a_part_has_one_holder_and_old_ones_write_nothing(measured: Measured, queued: str) -> None:
    lab = measured.lab
    first, second = claimed(lab, queued), claimed(lab, queued)
    assert (first.number, second.number) == (0, 1)
    assert next_part(lab, queued) is None
    with lab.database.writing() as session:
        session.execute(update(ShardRow).values(lease_until=1.0))
    again = claimed(lab, queued)
    assert (again.number, again.fence) == (0, first.fence + 1)
    writes: list[Callable[[shards.ShardClaim], None]] = [
        lambda claim: shards.renew(lab.database, claim, lease_s=60),
        lambda claim: shards.report(lab.database, claim, [LogEvent(text="old")]),
        lambda claim: shards.finish(lab.database, claim, 1.0),
        lambda claim: shards.fail(lab.database, claim, {}),
    ]
    for write in writes:
        with pytest.raises(jobs.LeaseLost):
            write(first)
    shards.finish(lab.database, again, 1.0)
    with pytest.raises(jobs.LeaseLost):  # delivered twice
        shards.finish(lab.database, again, 1.0)


def test_nobody_helps_where_figures_would_be_of_another_environment(
    measured: Measured, queued: str
) -> None:
    lab = measured.lab
    assert shards.free_count(lab.database, lease_s=60) == 2
    assert shards.claim_any(lab.database, "other", worker="w", lease_s=60) is None
    assert shards.claim_any(lab.database, sharding.facts(), worker="w", lease_s=60) is not None


def test_parts_go_with_a_cancelled_evaluation(measured: Measured, queued: str) -> None:
    lab = measured.lab
    claim = claimed(lab, queued)
    assert jobs.request_cancel(lab.database, queued)
    assert shards.free_count(lab.database, lease_s=60) == 0
    with pytest.raises(jobs.LeaseLost):
        shards.must_end(lab.database, claim)


def test_what_befalls_a_part_is_said_once_by_the_evaluation(
    measured: Measured, monkeypatch: pytest.MonkeyPatch, queued: str
) -> None:
    lab = measured.lab
    is_now(lab, queued, JobStatus.RUNNING)
    with monkeypatch.context() as patch:
        patch.setattr(Ground, "chunk", _raise)
        assert help_out(lab, stopping=lambda: False)
    is_now(lab, queued, JobStatus.QUEUED)
    assert run_job(lab, queued, stopping=lambda: False) is JobStatus.FAILED
    row = row_of(lab, queued)
    assert row.failure is not None
    assert row.failure["detail"] == "The picture is gone."
    told = [event.text for event in events_of(lab, queued) if isinstance(event, LogEvent)]
    assert sum("The picture is gone." in text for text in told) == 1
    assert count_of(lab) == 0


def _raise(*_: object) -> None:
    raise JobError("The picture is gone.", hint="Import it again.")


def test_a_helper_makes_room_for_a_job_that_waits(measured: Measured, queued: str) -> None:
    """And runs it: nobody waits for somebody else's evaluation."""
    lab = measured.lab
    is_now(lab, queued, JobStatus.RUNNING)
    assert not jobs.waits(lab.database, Queue.EVALUATE, lab.offer)
    params = small(measured, images=4, models=(measured.student,), epsilons=(), step_counts=())
    waiting = add_job(lab, JobKind.EVALUATE, params)
    assert help_out(lab, stopping=lambda: False) is False
    run_next(lab, Queue.EVALUATE, stopping=lambda: False)
    assert row_of(lab, waiting).status == JobStatus.SUCCEEDED
    assert not any(part.finished for part in shards.of_job(lab.database, queued))


def test_a_part_that_fills_the_disk_is_free_again_and_not_blamed(
    measured: Measured, monkeypatch: pytest.MonkeyPatch, queued: str
) -> None:
    """Its lease need not run out before another worker, which has room, takes it."""
    lab = measured.lab
    monkeypatch.setattr(Bookmark, "close", lambda *_: False)
    assert run_job(lab, queued, stopping=lambda: False) is None
    assert row_of(lab, queued).status == JobStatus.QUEUED
    assert [(part.held, part.attempt) for part in shards.of_job(lab.database, queued)] == [
        (False, 0), (False, 0),
    ]  # fmt: skip


def test_who_has_no_room_does_not_help(measured: Measured, queued: str) -> None:
    lab = measured.lab
    is_now(lab, queued, JobStatus.RUNNING)
    crowded = lab.settings.model_copy(update={"min_free_mb": 2**40})
    assert not help_out(replace(lab, settings=crowded), stopping=lambda: False)
    assert not any(part.attempt for part in shards.of_job(lab.database, queued))


class _Torn(Files):
    """Of a storage, where some of what was kept is not what is read."""

    def __init__(self, root: Path, torn: set[Path]) -> None:
        super().__init__(root)
        self._torn = torn

    def here(self, path: Path) -> Path:
        if path in self._torn:
            raise Damaged(f"{path.name} in the storage is not the file that was stored.")
        return path

    def drop(self, path: Path) -> None:
        self._torn -= {path, path.parent}
        super().drop(path)


def _is_torn(lab: WorkerLab, part: Path) -> WorkerLab:
    return replace(lab, files=_Torn(lab.settings.data_dir, {part}))


def _is_cut_short(lab: WorkerLab, part: Path) -> WorkerLab:
    page = latest(part) / LAST
    page.write_bytes(page.read_bytes()[:-100])
    return lab


def _has_another_bit(lab: WorkerLab, part: Path) -> WorkerLab:
    """In the midst of a tensor, whose numbers nobody would miss."""
    page = latest(part) / LAST
    data = bytearray(page.read_bytes())
    with zipfile.ZipFile(page) as packed:
        entry = max(packed.infolist(), key=lambda each: each.file_size)
    assert "/data/" in entry.filename
    data[data.index(packed_name := entry.filename.encode()) + len(packed_name) + 1000] ^= 1
    page.write_bytes(data)
    return lab


@pytest.mark.parametrize("damaged", [_is_torn, _is_cut_short, _has_another_bit])
def test_a_damaged_part_is_measured_again(
    measured: Measured, queued: str, damaged: Callable[[WorkerLab, Path], WorkerLab]
) -> None:
    """However often workers of it were lost before."""
    lab = measured.lab
    is_now(lab, queued, JobStatus.RUNNING)
    assert help_out(lab, stopping=lambda: False)
    assert all(part.finished for part in shards.of_job(lab.database, queued))
    with lab.database.writing() as session:
        session.execute(update(ShardRow).values(attempt=MAX_ATTEMPTS))
    is_now(lab, queued, JobStatus.QUEUED)
    spoilt = damaged(lab, lab.files.checkpoints(queued + part_of(0)))
    assert run_job(spoilt, queued, stopping=lambda: False) is JobStatus.SUCCEEDED
    params = EvaluateParams.model_validate(row_of(lab, queued).params)
    assert result_of(measured, queued) == untimed(evaluate(measured, params))
    told = [event.text for event in events_of(lab, queued) if isinstance(event, LogEvent)]
    assert len([text for text in told if "damaged" in text]) == 1


class _Overtaken(_Torn):
    """A part is found damaged by a worker that was stopped for so long that another has the job."""

    def __init__(self, lab: WorkerLab, job_id: str, part: Path) -> None:
        super().__init__(lab.settings.data_dir, {part})
        self._lab, self._job = lab, job_id

    def here(self, path: Path) -> Path:
        if path in self._torn:
            with self._lab.database.writing() as session:
                taken = update(JobRow).where(JobRow.id == self._job)
                session.execute(taken.values(fence=JobRow.fence + 1))
        return super().here(path)


def test_who_has_lost_the_job_drops_no_part_of_it(measured: Measured, queued: str) -> None:
    lab = measured.lab
    is_now(lab, queued, JobStatus.RUNNING)
    assert help_out(lab, stopping=lambda: False)
    is_now(lab, queued, JobStatus.QUEUED)
    part = lab.files.checkpoints(queued + part_of(0))
    late = replace(lab, files=_Overtaken(lab, queued, part))
    assert run_job(late, queued, stopping=lambda: False) is None
    assert (latest(part) / LAST).exists()
    assert all(part.finished for part in shards.of_job(lab.database, queued))


def test_a_network_is_prepared_once_for_all_parts(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = []

    def counted(model: Classifier, **how: Any) -> Any:
        prepared.append(model)
        return frozen(model, **how)

    monkeypatch.setattr(attacking, "frozen", counted)
    params = small(
        measured, images=12, batch_size=4, further=(Method.TRANSFER,), sources=(measured.student,),
        epsilons=(), step_counts=(),
    )  # fmt: skip
    evaluate(measured, params)
    assert len(prepared) == 2, "of six parts before two models, one of which is a source"
