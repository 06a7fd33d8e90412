"""Deleting jobs: what stands in the way, what goes along, and the way back."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import update

from app.ablations import lifecycle
from app.contracts.changes import MAX_TAGS, JobChanges
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.placement import Priority
from app.errors import Conflict, InvalidInput, NotFound
from app.services import datasets, job_changes, jobs, models
from app.services.lab import Lab
from app.services.upkeep import clear
from app.store import marks
from app.store.tables import DatasetRow, JobRow, ModelRow
from tests.plugins.families import ablation_params, children_of, fail, take
from tests.plugins.rows import job_row
from tests.plugins.stock import stock_dataset, stock_model


def ended(lab: Lab, **values: object) -> str:
    row = job_row(**{"status": JobStatus.FAILED, "finished_at": time.time(), **values})
    with lab.database.writing() as session:
        session.add(row)
    return row.id


def test_a_named_job_is_called_so_and_says_what_it_does(lab: Lab) -> None:
    job = ended(lab, title="Train Net on Pets")
    (view,) = job_changes.change(lab, [job], JobChanges(name="Table 2", pinned=True))
    assert (view.title, view.does, view.name) == ("Table 2", "Train Net on Pets", "Table 2")
    assert view.pinned_at is not None
    (view,) = job_changes.change(lab, [job], JobChanges(name="", pinned=False))
    assert (view.title, view.name, view.pinned_at) == ("Train Net on Pets", "", None)


def test_what_is_refused_in_part_changes_nothing(lab: Lab) -> None:
    job = job_row()
    with lab.database.writing() as session:
        session.add(job)
    too_many = JobChanges(priority=Priority.LOW, tags=tuple(f"tag {n}" for n in range(MAX_TAGS)))
    with pytest.raises(InvalidInput, match="tags"):
        job_changes.change(lab, [job.id], too_many, more_tags=["one more"])
    assert jobs.get(lab, job.id).priority is Priority.NORMAL


def test_pinned_jobs_are_found_the_latest_first_while_they_are_there(lab: Lab) -> None:
    first, second, gone, kept = (ended(lab, status=JobStatus.SUCCEEDED) for _ in range(4))
    for job in (first, second, gone, kept):
        job_changes.change(lab, [job], JobChanges(pinned=True))
    job_changes.delete(lab, gone)
    job_changes.change(lab, [kept], JobChanges(archived=True))
    assert [view.id for view in job_changes.pinned(lab)] == [second, first]


def test_an_unfinished_job_is_not_deleted_and_nothing_else_of_the_selection(lab: Lab) -> None:
    over, running = ended(lab), ended(lab, status=JobStatus.RUNNING, title="Long")
    with pytest.raises(Conflict, match="“Long” is running"):
        job_changes.delete(lab, over, running)
    assert jobs.get(lab, over).id == over


def test_a_job_from_which_a_model_came_says_so(lab: Lab) -> None:
    job, model = ended(lab), stock_model(lab, name="Net")
    _came_from(lab, ModelRow, model, job)
    with pytest.raises(Conflict, match="The model “Net” came from here"):
        job_changes.delete(lab, job)


@pytest.mark.parametrize("way", ["restore", "undo"])
def test_what_comes_back_brings_the_job_that_it_came_from(lab: Lab, way: str) -> None:
    training, importing = ended(lab), ended(lab, kind=JobKind.IMPORT)
    model, dataset = stock_model(lab), stock_dataset(lab)
    _came_from(lab, ModelRow, model, training)
    _came_from(lab, DatasetRow, dataset, importing)
    when = models.delete(lab, model)
    datasets.delete(lab, dataset)
    job_changes.delete(lab, training, importing)
    if way == "undo":
        models.undo(lab, when)
    else:
        models.restore(lab, model)
    datasets.restore(lab, dataset)
    assert {view.id for view in jobs.page(lab).items} == {training, importing}


def test_a_model_of_an_ablation_brings_all_of_it_back(lab: Lab) -> None:
    training = {"dataset": stock_dataset(lab), "teacher": stock_model(lab)}
    parent = jobs.submit(lab, JobKind.ABLATION, ablation_params(training=training)).id
    children = [child.id for child in children_of(lab.database, parent)]
    for child in children:
        fail(lab.database, take(lab.database, child))
    lifecycle.advance(lab.database, lab.files, parent)
    model = stock_model(lab)
    _came_from(lab, ModelRow, model, children[0])
    models.delete(lab, model)
    job_changes.delete(lab, parent)
    models.restore(lab, model)
    assert {view.id for view in jobs.page(lab).items} == {parent, *children}


def test_a_model_that_comes_back_meanwhile_keeps_its_job(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, model = ended(lab), stock_model(lab, name="Net")
    _came_from(lab, ModelRow, model, job)
    models.delete(lab, model)
    move = marks.put_in_bin

    def beaten(*args: Any) -> float:
        models.restore(lab, model)
        return move(*args)

    monkeypatch.setattr(marks, "put_in_bin", beaten)
    with pytest.raises(Conflict, match="The model “Net” came from here"):
        job_changes.delete(lab, job)
    assert jobs.get(lab, job).id == job


def _came_from(lab: Lab, table: type[ModelRow | DatasetRow], thing: str, job: str) -> None:
    with lab.database.writing() as session:
        session.execute(update(table).where(table.id == thing).values(job_id=job))


def test_a_job_whose_checkpoint_is_in_use_says_so(lab: Lab) -> None:
    earlier = ended(lab)
    with lab.database.writing() as session:
        session.add(job_row(title="Go on", params={"continue_from": earlier}))
    with pytest.raises(Conflict, match="“Go on” goes on from its checkpoint"):
        job_changes.delete(lab, earlier)


def test_an_ablation_goes_and_comes_back_with_its_jobs(lab: Lab) -> None:
    training = {"dataset": stock_dataset(lab), "teacher": stock_model(lab)}
    parent = jobs.submit(lab, JobKind.ABLATION, ablation_params(training=training)).id
    for child in children_of(lab.database, parent):
        fail(lab.database, take(lab.database, child.id))
    lifecycle.advance(lab.database, lab.files, parent)
    child = children_of(lab.database, parent)[0].id
    with pytest.raises(Conflict, match="is a part of “Ablation Nets on Pets”"):
        job_changes.delete(lab, child)
    job_changes.delete(lab, parent)
    assert jobs.page(lab).total == 0
    with pytest.raises(Conflict, match="part of an ablation"):
        job_changes.restore(lab, child)
    (restored,) = job_changes.restore(lab, parent)
    assert restored.children == 4
    assert jobs.get(lab, child).parent == parent


def test_what_was_deleted_at_once_comes_back_at_once(lab: Lab) -> None:
    one, two, other = ended(lab), ended(lab), ended(lab)
    job_changes.delete(lab, other)
    when = job_changes.delete(lab, one, two)
    assert job_changes.undo(lab, when) == 2
    assert {view.id for view in jobs.page(lab).items} == {one, two}
    with pytest.raises(NotFound):
        jobs.get(lab, other)


def test_files_of_deleted_jobs_go_after_a_week(lab: Lab) -> None:
    old, young = ended(lab), ended(lab)
    job_changes.delete(lab, old, young)
    for job in (old, young):
        lab.files.result(job).write_text("{}")
        lab.files.checkpoints(job).mkdir()
    with lab.database.writing() as session:
        long_ago = update(JobRow).where(JobRow.id == old)
        session.execute(long_ago.values(deleted_at=time.time() - 8 * 24 * 3600))
    clear(lab)
    for job, there in ((old, False), (young, True)):
        assert lab.files.result(job).exists() is there
        assert lab.files.checkpoints(job).exists() is there
    with pytest.raises(NotFound):
        job_changes.restore(lab, old)
