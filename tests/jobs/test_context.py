"""What a running job asks and tells SQL, by a clock in the test's hands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from app.contracts.events import ProgressEvent
from app.contracts.jobs import JobKind
from app.contracts.params import ImportParams
from app.store import jobs
from tests.jobs.runs import add_job, events_of, open_lab
from tests.plugins.statements import statements
from worker.jobs.context import Cancelled, Interrupted, JobContext, WorkerLab
from worker.jobs.throttle import Throttle


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lab(tmp_path: Path, clock: Clock) -> WorkerLab:
    return replace(open_lab(tmp_path), clock=clock)


@pytest.fixture
def context(lab: WorkerLab) -> JobContext:
    job_id = add_job(lab, JobKind.IMPORT, ImportParams(name="Shapes"))
    claim = jobs.claim(lab.database, job_id, lease_s=600)
    assert claim is not None
    return JobContext(lab, claim, lambda: False)


def looks(asked: list[str]) -> int:
    return sum("cancel_requested" in statement for statement in asked)


def test_a_throttle_says_yes_once_in_its_time(clock: Clock) -> None:
    throttle = Throttle(0.25, clock)
    said = []
    for clock.now in (0.0, 0.125, 0.249, 0.25, 0.375, 0.5, 5.0, 5.125):
        said.append(throttle.due())
    assert said == [True, False, False, True, False, True, True, False]


def test_a_thousand_steps_a_second_ask_sql_four_times(context: JobContext, clock: Clock) -> None:
    with statements() as asked:
        for _ in range(1024):
            context.check()
            clock.now += 1 / 1024
    assert looks(asked) == 4


def test_a_cancel_is_noticed_after_a_quarter_of_a_second(context: JobContext, clock: Clock) -> None:
    context.check()
    assert jobs.request_cancel(context.lab.database, context.claim.job_id)
    clock.now += 0.24
    context.check()
    clock.now += 0.01
    with pytest.raises(Cancelled):
        context.check()


def test_a_cancel_before_the_first_step_is_noticed_at_once(context: JobContext) -> None:
    jobs.request_cancel(context.lab.database, context.claim.job_id)
    with pytest.raises(Cancelled):
        context.progress(0, 10, "reading")


def test_a_lost_lease_is_noticed_at_the_same_pace(context: JobContext, clock: Clock) -> None:
    context.check()
    jobs.give_back(context.lab.database, context.claim)
    context.check()
    clock.now += 0.25
    with pytest.raises(jobs.LeaseLost):
        context.check()


def test_a_stopping_worker_is_noticed_at_every_step(context: JobContext) -> None:
    left = iter([False, False, True])
    context.stopping = left.__next__
    context.check()
    context.check()
    with pytest.raises(Interrupted):
        context.check()


def test_progress_is_told_once_a_second_and_at_the_end_once(
    context: JobContext, clock: Clock
) -> None:
    for done in range(1, 41):
        context.progress(done, 40, "measuring")
        clock.now += 1 / 16
    context.progress(40, 40, "measuring")
    told = [e for e in events_of(context.lab, context.claim.job_id) if isinstance(e, ProgressEvent)]
    assert [event.done for event in told] == [1, 17, 33, 40]
    assert told[1].eta_s == pytest.approx(23 / 16, abs=0.05)
