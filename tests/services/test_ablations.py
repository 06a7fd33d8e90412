"""What the service does for ablations beside the store: it sends their jobs, one by one."""

from __future__ import annotations

import pytest

from app.contracts.jobs import JobKind, JobStatus, Queue
from app.contracts.params import AblationParams
from app.contracts.views import JobView
from app.errors import Conflict
from app.services import ablations, jobs, models, upkeep
from app.services.lab import Lab
from tests.plugins.families import ablation_params, children_of, run_all, succeed, take
from tests.plugins.stock import stock_dataset, stock_model


@pytest.fixture
def params(lab: Lab) -> AblationParams:
    training = {"dataset": stock_dataset(lab), "teacher": stock_model(lab)}
    return ablation_params(training=training)


def submit(lab: Lab, params: AblationParams) -> JobView:
    return jobs.submit(lab, JobKind.ABLATION, params)


def test_its_jobs_leave_room_for_others(lab: Lab, params: AblationParams) -> None:
    job = submit(lab, params)
    assert lab.broker.waiting(Queue.TRAIN) == 0
    for _ in range(3):
        upkeep.reconcile(lab)
        assert lab.broker.waiting(Queue.TRAIN) == 1
    first, *rest = children_of(lab.database, job.id)
    assert first.sent_at is not None
    assert [child.sent_at for child in rest] == [None] * 3
    succeed(lab.database, lab.files, take(lab.database, first.id))
    upkeep.reconcile(lab)
    assert lab.broker.waiting(Queue.EVALUATE) == 1
    assert jobs.get(lab, job.id).children == 5


def test_the_reconciler_brings_it_to_its_end(lab: Lab, params: AblationParams) -> None:
    job = submit(lab, params)
    claim = take(lab.database, children_of(lab.database, job.id)[0].id)
    upkeep.reconcile(lab)
    running = jobs.get(lab, job.id)
    assert (running.status, running.children) == (JobStatus.RUNNING, 4)
    assert running.progress is not None
    assert running.progress.share == 0
    succeed(lab.database, lab.files, claim)
    run_all(lab.database, lab.files, job.id)
    done = jobs.get(lab, job.id)
    assert (done.status, done.has_result, done.children) == (JobStatus.SUCCEEDED, True, 8)
    assert done.progress is not None
    assert done.progress.share == 1
    table = ablations.get(lab, job.id).table
    lab.files.result(job.result_name).write_text("{")  # damaged: what is known makes the same table
    assert ablations.get(lab, job.id).table == table
    busy = {queue.queue: (queue.waiting, queue.running) for queue in upkeep.health(lab).queues}
    assert set(busy.values()) == {(0, 0)}


def test_its_teacher_is_kept_until_it_is_over(lab: Lab, params: AblationParams) -> None:
    job = submit(lab, params)
    teacher = params.training.teacher
    assert teacher is not None
    with pytest.raises(Conflict, match="Ablation Nets"):
        models.delete(lab, teacher)
    jobs.cancel(lab, job.id)
    models.delete(lab, teacher)


def test_cancel_twice_is_a_conflict(lab: Lab, params: AblationParams) -> None:
    job = submit(lab, params)
    assert jobs.cancel(lab, job.id).status is JobStatus.CANCELLED
    with pytest.raises(Conflict, match="it is cancelled"):
        jobs.cancel(lab, job.id)
