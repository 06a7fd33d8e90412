"""Ablations in SQL: children written with their parent, followed by it, and never by a worker."""

from __future__ import annotations

import statistics
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.ablations import lifecycle, tables
from app.contracts.events import EVENT, ProgressEvent, StateEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import AblationParams, EvaluateParams, TrainParams
from app.contracts.results import AblationResult, AblationTable, Measure
from app.store import catalogue, job_queries, jobs, losses, marks
from app.store.db import Database
from app.store.files import Files
from app.store.tables import JobRow, ModelRow
from tests.plugins.families import (
    DATASET,
    TEACHER,
    ablation_params,
    add_ablation,
    children_of,
    fail,
    run_all,
    succeed,
    take,
)

QUEUED, RUNNING, SUCCEEDED = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.SUCCEEDED
FAILED, CANCELLED = JobStatus.FAILED, JobStatus.CANCELLED


@pytest.fixture
def files(tmp_path: Path) -> Files:
    found = Files(tmp_path / "files")
    found.prepare()
    return found


def row_of(database: Database, job_id: str) -> JobRow:
    row = job_queries.get(database, job_id)
    assert row is not None
    return row


def table_of(database: Database, files: Files, parent: str) -> AblationTable:
    params = AblationParams.model_validate(row_of(database, parent).params)
    return tables.table(database, files, parent, params)


def test_trainings_are_written_with_their_parent(database: Database) -> None:
    params = ablation_params(grid={"steps": (7, 10)}, seeds=(3, 5))
    parent = add_ablation(database, params)
    children = children_of(database, parent)
    assert [job.kind for job in children] == [JobKind.TRAIN] * 6
    trained = [TrainParams.model_validate(job.params) for job in children]
    assert [(t.recipe, t.steps, t.seed) for t in trained] == [
        ("clean", 10, 3), ("clean", 10, 5),
        ("agkd_bml", 7, 3), ("agkd_bml", 7, 5),
        ("agkd_bml", 10, 3), ("agkd_bml", 10, 5),
    ]  # fmt: skip
    assert [t.teacher for t in trained] == [None] * 2 + [TEACHER] * 4
    assert trained[2].name == "Nets · AGKD-BML, steps 7 · seed 3"
    assert all(job.last_event == 1 for job in children)
    assert (row_of(database, parent).status, row_of(database, parent).parent_id) == (QUEUED, None)


def test_no_worker_takes_a_parent_and_no_queue_counts_it(database: Database) -> None:
    parent = add_ablation(database, ablation_params(recipes=("clean",), seeds=(0,)))
    (child,) = children_of(database, parent)
    assert jobs.claim(database, parent, lease_s=60) is None
    assert sum(job_queries.counts(database).values()) == 1
    assert job_queries.unsent(database, older_than_s=-1) == [(child.id, child.queue, 0)]


def test_a_parent_follows_its_children_to_the_end(database: Database, files: Files) -> None:
    parent = add_ablation(database, ablation_params())
    assert lifecycle.advance(database, files, parent)  # says how much there is to do
    assert not lifecycle.advance(database, files, parent)
    assert row_of(database, parent).status == QUEUED
    first = children_of(database, parent)[0]
    claim = take(database, first.id)
    assert claim.parent_id == parent
    assert lifecycle.advance_all(database, files) == [parent]
    running = row_of(database, parent)
    assert (running.status, running.lease_until) == (RUNNING, None)
    succeed(database, files, claim)
    assert lifecycle.advance(database, files, parent)
    evaluation = children_of(database, parent)[-1]
    measured = EvaluateParams.model_validate(evaluation.params)
    assert (measured.dataset, measured.images, measured.attack.steps) == (DATASET, 1000, 20)
    assert measured.further == ("cw", "autoattack")
    assert evaluation.title == "Evaluate Nets · Clean · seed 0"
    progress = row_of(database, parent).progress
    assert progress is not None
    assert (progress["done"], progress["total"]) == (1, 8)
    run_all(database, files, parent)
    done = row_of(database, parent)
    assert (done.status, done.failure) == (SUCCEEDED, None)
    assert done.finished_at is not None
    assert Counter(job.kind for job in children_of(database, parent)) == {
        JobKind.TRAIN: 4, JobKind.EVALUATE: 4,
    }  # fmt: skip
    result = AblationResult.model_validate_json(files.result(done.result_name).read_bytes())
    assert result.table == table_of(database, files, parent)
    assert not lifecycle.advance_all(database, files)
    stored = [EVENT.validate_python(e.body) for e in job_queries.events_after(database, parent, 0)]
    states = [event.status for event in stored if isinstance(event, StateEvent)]
    assert states == [QUEUED, RUNNING, SUCCEEDED]
    shares = [event.done for event in stored if isinstance(event, ProgressEvent)]
    assert shares == list(range(9))


def test_figures_are_means_over_seeds(database: Database, files: Files) -> None:
    parent = add_ablation(database, ablation_params(recipes=("agkd_bml",), seeds=(0, 1, 2)))
    robust = {0: 31, 1: 30, 2: 35}
    for training, seed in zip(children_of(database, parent), robust, strict=True):
        succeed(database, files, take(database, training.id), {"clean": 50 + seed, "pgd": 20})
    lifecycle.advance(database, files, parent)
    for evaluation in children_of(database, parent, QUEUED):
        seed = int(evaluation.title[-1])
        shares = {"clean": 80, "fgsm": 50, "pgd": robust[seed], "cw": 28, "aa": 25}
        if seed != 1:
            succeed(database, files, take(database, evaluation.id), shares)
    table = table_of(database, files, parent)
    assert [column.name for column in table.columns] == [
        "clean", "FGSM", "PGD-20", "CW-20", "AutoAttack", "clean, validation", "PGD-10, validation"
    ]  # fmt: skip
    (row,) = table.rows
    assert [child.seed for child in row.children] == [0, 1, 2]
    pgd = row.figures[Measure.PGD]
    assert (pgd.n, [value.seed for value in pgd.values]) == (2, [0, 2])
    assert pgd.mean == pytest.approx(0.33)  # (31 + 35) / 2
    assert pgd.std == pytest.approx(0.0282842712)  # sqrt(((-2)^2 + 2^2) / (2 - 1)) / 100
    validation = row.figures[Measure.VALIDATION_CLEAN]
    assert validation.mean == pytest.approx(0.51)
    assert validation.std == pytest.approx(statistics.stdev([0.50, 0.51, 0.52]))
    assert row.figures[Measure.AUTOATTACK].mean == pytest.approx(0.25)
    assert row.figures[Measure.CW].mean == pytest.approx(0.28)
    assert {(each.variant, each.value) for each in table.reported} == {
        ("AGKD-BML; under PGD-20", 0.7102)  # AGKD-BML-7 takes other steps than these
    }
    assert all("reported elsewhere" in each.label for each in table.reported)


def test_one_seed_has_no_deviation(database: Database, files: Files) -> None:
    parent = add_ablation(database, ablation_params(recipes=("clean",), seeds=(4,), measure=None))
    run_all(database, files, parent)
    (row,) = table_of(database, files, parent).rows
    spread = row.figures[Measure.VALIDATION_CLEAN]
    assert (spread.mean, spread.std, spread.n) == (0.9, None, 1)
    assert Measure.VALIDATION_PGD not in row.figures
    assert Measure.PGD not in row.figures


def test_one_failed_child_does_not_sink_the_rest(database: Database, files: Files) -> None:
    parent = add_ablation(database, ablation_params(recipes=("clean", "pgd_at"), seeds=(0,)))
    first, second = children_of(database, parent)
    fail(database, take(database, first.id), "The loss is not finite.")
    succeed(database, files, take(database, second.id))
    lifecycle.advance(database, files, parent)
    (evaluation,) = children_of(database, parent, QUEUED)
    fail(database, take(database, evaluation.id), "No memory.")
    lifecycle.advance(database, files, parent)
    assert row_of(database, parent).status == SUCCEEDED
    clean, robust = table_of(database, files, parent).rows
    assert clean.children[0].failure == "The loss is not finite. Mend it."
    assert clean.figures == {}
    assert robust.children[0].failure == "No memory. Mend it."
    assert set(robust.figures) == {Measure.VALIDATION_CLEAN, Measure.VALIDATION_PGD}
    events = job_queries.events_after(database, parent, 0)
    (log,) = [e.body["text"] for e in events if e.body["type"] == "log"]
    assert log.startswith("2 of its jobs failed: ")
    assert first.title in log


def test_a_parent_fails_where_no_training_succeeds(database: Database, files: Files) -> None:
    parent = add_ablation(database, ablation_params(recipes=("clean",)))
    first, second = children_of(database, parent)
    fail(database, take(database, first.id), "The dataset is gone.")
    assert jobs.request_cancel(database, second.id)
    lifecycle.advance(database, files, parent)
    row = row_of(database, parent)
    assert (row.status, row.result_file) == (FAILED, None)
    assert row.failure is not None
    assert row.failure["detail"] == (
        "None of its 2 trainings succeeded. The first: The dataset is gone."
    )
    assert table_of(database, files, parent).rows[0].children[1].status == CANCELLED


def test_cancel_ends_all_and_starts_nothing_more(database: Database, files: Files) -> None:
    parent = add_ablation(database, ablation_params())
    done, running, *waiting = children_of(database, parent)
    succeed(database, files, take(database, done.id))
    claim = take(database, running.id)
    asked = lifecycle.request_cancel(database, files, parent)
    assert asked is not None
    assert set(asked) == {running.id, *(job.id for job in waiting)}
    ended = [row_of(database, job.id) for job in waiting]
    assert [job.status for job in ended] == [CANCELLED] * 2
    assert all(job.finished_at is not None for job in ended)
    assert jobs.cancel_requested(database, claim)
    assert row_of(database, parent).status == RUNNING  # until the last child has ended
    jobs.settle(database, claim, CANCELLED)
    lifecycle.advance(database, files, parent)
    row = row_of(database, parent)
    assert (row.status, row.result_file) == (CANCELLED, None)
    assert [job.kind for job in children_of(database, parent)] == [JobKind.TRAIN] * 4
    assert lifecycle.request_cancel(database, files, parent) is None
    assert table_of(database, files, parent).rows[0].children[0].model is not None
    last = job_queries.events_after(database, waiting[0].id, 0)[-1]
    assert (last.seq, last.body["status"]) == (2, "cancelled")


def test_a_parent_that_nobody_began_is_cancelled_at_once(database: Database, files: Files) -> None:
    parent = add_ablation(database, ablation_params())
    assert len(lifecycle.request_cancel(database, files, parent) or []) == 4
    assert row_of(database, parent).status == CANCELLED


def test_a_lost_worker_costs_the_child_an_attempt_and_the_parent_nothing(
    database: Database, files: Files
) -> None:
    parent = add_ablation(database, ablation_params(recipes=("clean",), seeds=(0,)))
    (child,) = children_of(database, parent)
    take(database, child.id, lease_s=-1)
    lifecycle.advance(database, files, parent)
    assert losses.release_expired(database, lease_s=1000) == [child.id]
    lifecycle.advance(database, files, parent)
    assert row_of(database, parent).status == RUNNING
    run_all(database, files, parent)
    assert row_of(database, parent).status == SUCCEEDED


def test_a_model_in_the_bin_is_not_waited_for(database: Database, files: Files) -> None:
    parent = add_ablation(database, ablation_params(recipes=("clean",), seeds=(0,)))
    (child,) = children_of(database, parent)
    succeed(database, files, take(database, child.id))
    (model,), _ = catalogue.models(database)
    marks.put_in_bin(database, ModelRow, [model.id])
    lifecycle.advance(database, files, parent)
    assert row_of(database, parent).status == SUCCEEDED
    assert table_of(database, files, parent).rows[0].children[0].model is None


def test_racing_calls_submit_one_evaluation_and_settle_once(
    database: Database, files: Files
) -> None:
    parent = add_ablation(database, ablation_params(recipes=("clean",), seeds=(0, 1, 2)))
    lifecycle.advance(database, files, parent)
    barrier = threading.Barrier(6)

    def race(_: int) -> bool:
        barrier.wait()
        return lifecycle.advance(database, files, parent)

    def all_at_once() -> int:
        with ThreadPoolExecutor(6) as pool:
            return sum(pool.map(race, range(6)))

    for training in children_of(database, parent):
        succeed(database, files, take(database, training.id))
    assert all_at_once() == 1
    evaluations = children_of(database, parent, QUEUED)
    assert [job.kind for job in evaluations] == [JobKind.EVALUATE] * 3
    for evaluation in evaluations:
        succeed(database, files, take(database, evaluation.id))
    assert all_at_once() == 1
    events = job_queries.events_after(database, parent, 0)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [e.body["status"] for e in events if e.body["type"] == "state"] == [
        "queued", "running", "succeeded",
    ]  # fmt: skip


def test_a_parent_in_trouble_holds_up_no_other(database: Database, files: Files) -> None:
    broken, sound = (add_ablation(database, ablation_params()) for _ in range(2))
    first = children_of(database, broken)[0]
    with database.writing() as session:
        session.get_one(JobRow, first.id).status = "another version"
    assert lifecycle.advance_all(database, files) == [sound]


def test_a_damaged_result_costs_its_own_figures_alone(database: Database, files: Files) -> None:
    parent = add_ablation(database, ablation_params(recipes=("clean",)))
    for child in children_of(database, parent):
        succeed(database, files, take(database, child.id))
    lifecycle.advance(database, files, parent)
    evaluations = children_of(database, parent, QUEUED)
    for evaluation in evaluations:
        succeed(database, files, take(database, evaluation.id))
    files.result(evaluations[0].id).write_text('{"kind": "evaluation"')
    assert lifecycle.advance(database, files, parent)
    assert row_of(database, parent).status == SUCCEEDED
    figures = table_of(database, files, parent).rows[0].figures
    assert (figures[Measure.CLEAN].n, figures[Measure.VALIDATION_CLEAN].n) == (1, 2)
