"""The states of a job as a graph."""

from __future__ import annotations

from app.contracts.jobs import QUEUE_OF, TASK_OF, TRANSITIONS, JobKind, JobStatus, Queue


def test_every_state_has_its_transitions() -> None:
    assert set(TRANSITIONS) == set(JobStatus)
    assert set(QUEUE_OF) == set(JobKind)
    assert set(TASK_OF) == set(Queue)


def test_three_states_are_final_and_reached_from_running() -> None:
    final = {status for status in JobStatus if status.is_final}
    assert final == {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}
    assert final <= TRANSITIONS[JobStatus.RUNNING]


def test_only_a_worker_makes_a_job_succeed_or_fail() -> None:
    assert TRANSITIONS[JobStatus.QUEUED] == {JobStatus.RUNNING, JobStatus.CANCELLED}


def test_a_lost_job_goes_back_to_the_queue() -> None:
    assert JobStatus.QUEUED in TRANSITIONS[JobStatus.RUNNING]


def test_names_of_tasks_are_told_apart_by_queue() -> None:
    assert sorted(TASK_OF.values()) == ["lab.evaluate", "lab.live", "lab.train"]
