"""What a running job asks and tells SQL: beside its steps, which wait for nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from app.contracts.events import Event, LogEvent, MetricsEvent, ProgressEvent, StateEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import ImportParams
from app.store import jobs
from tests.jobs.runs import add_job, events_of, open_lab, row_of
from tests.plugins.lab_process import wait_until
from worker.jobs.background import Background
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
def context(lab: WorkerLab) -> Iterator[JobContext]:
    job_id = add_job(lab, JobKind.IMPORT, ImportParams(name="Shapes"))
    claim = jobs.claim(lab.database, job_id, lease_s=600)
    assert claim is not None
    with JobContext(lab, claim, lambda: False) as opened:
        yield opened


@contextmanager
def far_away(seconds: float) -> Iterator[set[str]]:
    """Every statement takes so long; the names of the threads that wait for one."""
    waiting: set[str] = set()

    def wait(*_: Any) -> None:
        waiting.add(threading.current_thread().name)
        time.sleep(seconds)

    event.listen(Engine, "before_cursor_execute", wait)
    try:
        yield waiting
    finally:
        event.remove(Engine, "before_cursor_execute", wait)


def test_a_throttle_says_yes_once_in_its_time(clock: Clock) -> None:
    throttle = Throttle(0.25, clock)
    said = []
    for clock.now in (0.0, 0.125, 0.249, 0.25, 0.375, 0.5, 5.0, 5.125):
        said.append(throttle.due())
    assert said == [True, False, False, True, False, True, True, False]


def test_no_step_waits_for_a_database_that_is_far_away(context: JobContext, clock: Clock) -> None:
    """Whatever a step reports: all of it is there in the end, in its order."""
    with far_away(0.02) as waiting:
        for step in range(1, 201):
            context.metrics("step", step, {"loss": 1 / step})
            context.progress(step, 200, "epoch 1")
            if step % 50 == 0:
                context.log(f"Epoch {step // 50}.")
            clock.now += 0.25
        context.insist(jobs.settle, JobStatus.CANCELLED)
        assert waiting == {"background", threading.current_thread().name}
        waiting.clear()
    told = events_of(context.lab, context.claim.job_id)
    assert [each.step for each in told if isinstance(each, MetricsEvent)] == [*range(1, 201)]
    assert [each.done for each in told if isinstance(each, ProgressEvent)] == [
        *range(1, 200, 4),
        200,
    ]
    assert [each.text for each in told if isinstance(each, LogEvent)] == [
        f"Epoch {epoch}." for epoch in range(1, 5)
    ]
    assert isinstance(told[-1], StateEvent), "the end comes last"
    before = told[: told.index(LogEvent(text="Epoch 1."))]
    assert max(each.step for each in before if isinstance(each, MetricsEvent)) == 50


def test_steps_alone_ask_nothing(context: JobContext) -> None:
    context.check()  # the first one waits for the first answer
    with far_away(0.02) as waiting:
        for _ in range(1000):
            context.check()
        wait_until(lambda: waiting, "the next question", 30)
    assert waiting == {"background"}


def test_a_cancel_is_noticed_within_half_a_second(context: JobContext) -> None:
    """Also where an answer takes a tenth of one. This is the processor's time as well, of which
    there may be little: the quickest of five counts."""

    def noticed_after_s(cancelled: JobContext) -> float:
        cancelled.check()
        with far_away(0.04):
            jobs.request_cancel(cancelled.lab.database, cancelled.claim.job_id)
            begin = time.monotonic()
            wait_until(lambda: raises(Cancelled, cancelled), "the cancel", 30)
            return time.monotonic() - begin

    times = [noticed_after_s(context)]
    while min(times) > 0.5 and len(times) < 5:
        job_id = add_job(context.lab, JobKind.IMPORT, ImportParams(name="Shapes"))
        claim = jobs.claim(context.lab.database, job_id, lease_s=600)
        assert claim is not None
        with JobContext(context.lab, claim, lambda: False) as another:
            times.append(noticed_after_s(another))
    assert min(times) <= 0.5


def test_a_cancel_before_the_first_step_is_noticed_by_it(lab: WorkerLab) -> None:
    job_id = add_job(lab, JobKind.IMPORT, ImportParams(name="Shapes"))
    claim = jobs.claim(lab.database, job_id, lease_s=600)
    assert claim is not None
    jobs.request_cancel(lab.database, job_id)
    with JobContext(lab, claim, lambda: False) as context:
        for _ in range(2):
            with pytest.raises(Cancelled):
                context.progress(0, 10, "reading")
        context.log("It ends.")
        context.insist(jobs.settle, JobStatus.CANCELLED)
    assert events_of(lab, job_id)[-2] == LogEvent(text="It ends.")


def test_who_has_not_heard_for_long_waits_for_the_answer(context: JobContext, clock: Clock) -> None:
    """As while the database is away: a job does not go on for ever that is another worker's."""
    context.check()
    jobs.request_cancel(context.lab.database, context.claim.job_id)
    clock.now += 11
    with pytest.raises(Cancelled):
        context.check()


def test_a_lost_lease_is_noticed_and_nothing_more_is_written(context: JobContext) -> None:
    context.check()
    before = events_of(context.lab, context.claim.job_id)
    jobs.give_back(context.lab.database, context.claim)
    context.log("late")
    with pytest.raises(jobs.LeaseLost):
        context.flush()
    wait_until(lambda: raises(jobs.LeaseLost, context), "the next question", 30)
    said = events_of(context.lab, context.claim.job_id)[len(before) :]
    assert said == [StateEvent(status=JobStatus.QUEUED)]


def raises(what: type[Exception], context: JobContext) -> bool:
    try:
        context.check()
    except what:
        return True
    return False


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
    context.flush()
    told = [e for e in events_of(context.lab, context.claim.job_id) if isinstance(e, ProgressEvent)]
    assert [event.done for event in told] == [1, 17, 33, 40]
    assert told[1].eta_s == pytest.approx(23 / 16, abs=0.05)


def test_the_bell_rings_when_events_are_there(lab: WorkerLab) -> None:
    seen: list[list[Event]] = []
    rung = replace(lab, ring=lambda job_id: seen.append(events_of(lab, job_id)))
    claim = jobs.claim(
        lab.database, add_job(lab, JobKind.IMPORT, ImportParams(name="Shapes")), lease_s=600
    )
    assert claim is not None
    with JobContext(rung, claim, lambda: False) as context:
        context.log("first")
        context.flush()
        context.log("second")
    assert [each[-1] for each in seen] == [LogEvent(text="first"), LogEvent(text="second")]
    assert row_of(lab, claim.job_id).last_event == 4


class Slow:
    """Writes one batch when it is let."""

    def __init__(self) -> None:
        self.let, self.batches = threading.Semaphore(0), list[Sequence[Event]]()

    def __call__(self, events: Sequence[Event]) -> None:
        assert self.let.acquire(timeout=30)
        self.batches.append(events)


@contextmanager
def background(write: Callable[[Sequence[Event]], None]) -> Iterator[Background]:
    opened = Background(write)
    opened.start()
    try:
        yield opened
    finally:
        opened.end()


def test_what_is_said_during_a_write_is_written_at_once_after_it() -> None:
    slow, lines = Slow(), [LogEvent(text=str(number)) for number in range(5)]
    with background(slow) as opened:
        opened.say(lines[:1])
        wait_until(lambda: not opened._said, "the first write", 30)
        for line in lines[1:]:
            opened.say([line])
        slow.let.release(2)
        opened.flush()
    assert slow.batches == [lines[:1], lines[1:]]


def test_a_write_that_fails_is_told_once() -> None:
    def fails(events: Sequence[Event]) -> None:
        raise OSError(events[0].text)  # type: ignore[union-attr]

    with background(fails) as opened:
        opened.say([LogEvent(text="first")])
        with pytest.raises(OSError, match="first"):
            opened.flush()
        opened.check()
        opened.say([LogEvent(text="second")])
        wait_until(lambda: opened._failure is not None, "the second write", 30)
        with pytest.raises(OSError, match="second"):
            opened.check()
        opened.flush()


def test_what_is_left_is_written_at_the_end() -> None:
    written: list[Event] = []
    with background(written.extend) as opened:
        for number in range(100):
            opened.say([LogEvent(text=str(number))])
    assert [each.text for each in written if isinstance(each, LogEvent)] == [*map(str, range(100))]
