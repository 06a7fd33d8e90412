"""Children of a worker that hang or are ended: their parent gives the job back, and says why."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from app.contracts.events import LogEvent
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.params import ImportParams
from app.store import jobs
from app.store.db import Database
from app.store.jobs import Claim
from tests.jobs.runs import add_job, events_of, open_lab, row_of
from tests.plugins.lab_process import wait_until
from worker import pulse as pulses
from worker.jobs.context import WorkerLab
from worker.pulse import Pulse, WatchedDatabase


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerLab:
    monkeypatch.setenv("LAB_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(pulses, "BEAT_EVERY_S", 0.02)
    return open_lab(tmp_path)


@pytest.fixture
def claim(lab: WorkerLab) -> Claim:
    job_id = add_job(lab, JobKind.IMPORT, ImportParams(name="Shapes", train_per_class=10))
    taken = jobs.claim(lab.database, job_id, lease_s=600)
    assert taken is not None
    return taken


@pytest.fixture
def fork(claim: Claim) -> Iterator[Callable[[Pulse, bool], int]]:
    """Start a child that never ends and has the job, if not `idle`; returns its process id."""
    begun: list[int] = []

    def start(pulse: Pulse, loses: bool = False, idle: bool = False) -> int:
        ready = multiprocessing.Event()
        pid = os.fork()
        if pid == 0:
            pulse.begin()
            with nullcontext() if idle else pulse.holding(claim):
                if loses:
                    pulse.lose()
                ready.set()
                time.sleep(600)
            os._exit(0)
        begun.append(pid)
        assert ready.wait(30)
        return pid

    yield start
    for pid in begun:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def signal_that_ended(pid: int) -> int | None:
    """None while it lives; the process stays to be collected."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return None if found is None else found.si_status


def log_of(lab: WorkerLab, job_id: str) -> list[str]:
    return [event.text for event in events_of(lab, job_id) if isinstance(event, LogEvent)]


def queued_again(lab: WorkerLab, job_id: str) -> bool:
    return row_of(lab, job_id).status == JobStatus.QUEUED


def test_a_stopped_child_is_ended_and_a_live_one_is_not(
    lab: WorkerLab, claim: Claim, fork: Callable[..., int]
) -> None:
    pulse = Pulse()
    child = fork(pulse)
    for _ in range(10):
        assert not pulse.end_hung(lease_s=1.0)
        time.sleep(0.05)
    os.kill(child, signal.SIGSTOP)
    wait_until(lambda: pulse.end_hung(lease_s=1.0), "the silence", 30)
    assert not pulse.end_hung(lease_s=1.0), "once"
    assert wait_until(lambda: signal_that_ended(child), "its end", 30) == signal.SIGKILL
    wait_until(lambda: queued_again(lab, claim.job_id), "the job is back", 60)
    hung = "The worker of attempt 1 was lost: it had hung, and was ended."
    assert log_of(lab, claim.job_id) == [hung]


def test_a_child_that_hangs_while_it_waits_is_ended_too(
    lab: WorkerLab, claim: Claim, fork: Callable[..., int]
) -> None:
    """Its queue would stand still. No job is told of, not even one that it had before."""
    pulse = Pulse()
    with pulse.holding(claim):
        pass
    assert pulse.silent_s == 0, "nobody is silent where there is no child"
    child = fork(pulse, idle=True)
    os.kill(child, signal.SIGSTOP)
    wait_until(lambda: pulse.silent_s > 0.5, "the silence", 30)
    assert pulse.end_hung(lease_s=0.5)
    assert wait_until(lambda: signal_that_ended(child), "its end", 30) == signal.SIGKILL
    assert row_of(lab, claim.job_id).status == JobStatus.RUNNING
    assert log_of(lab, claim.job_id) == []


@pytest.mark.parametrize("stops_in", ["a write", "a job", "work within a write"])
def test_a_child_that_stops_in_a_write_lets_others_write_soon(
    lab: WorkerLab, monkeypatch: pytest.MonkeyPatch, stops_in: str
) -> None:
    monkeypatch.setattr(pulses, "LETS_WRITE_WITHIN_S", 0.5)
    pulse = Pulse()
    pid = os.fork()
    if pid == 0:
        pulse.begin()
        database = WatchedDatabase(lab.database.url, pulse, patience_s=5)
        with nullcontext() if stops_in == "a job" else database.writing() as session:
            if session is not None:
                session.connection()
            if stops_in == "work within a write":
                sum(range(10**15))  # no other thread has its turn, and none beats
            os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    try:
        if stops_in != "work within a write":
            os.waitpid(pid, os.WUNTRACED)
        hasty = Database(lab.database.url, patience_s=0.05)
        if stops_in == "a write":
            with pytest.raises(OperationalError, match="locked"):
                hasty.writes()
            wait_until(lambda: pulse.end_hung(lease_s=600), "the silence", 30)
            wait_until(lambda: signal_that_ended(pid), "its end", 30)
        else:
            wait_until(lambda: pulse.silent_s > 1.0, "the silence", 30)
            assert not pulse.end_hung(lease_s=600), "it holds nobody up, or is at work"
        if stops_in != "work within a write":
            hasty.writes()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_child_that_ended_before_its_signal_came_ends_no_watch(
    lab: WorkerLab, claim: Claim
) -> None:
    """What it raised would end the thread that looks after every later child."""
    pulse = Pulse()
    child = os.fork()
    if child == 0:
        pulse.begin()
        with pulse.holding(claim):
            os._exit(0)
    os.waitpid(child, 0)
    assert pulse.end_hung(lease_s=0.0)
    wait_until(lambda: queued_again(lab, claim.job_id), "the job is back", 60)


def test_the_signal_that_ended_a_child_is_named(
    lab: WorkerLab, claim: Claim, fork: Callable[..., int]
) -> None:
    pulse = Pulse()
    child = fork(pulse)
    pulse.mourn(child + 1, -signal.SIGKILL)  # an earlier one, which had no job
    pulse.mourn(child, -signal.SIGSEGV)
    wait_until(lambda: queued_again(lab, claim.job_id), "the job is back", 60)
    assert log_of(lab, claim.job_id) == ["The worker of attempt 1 was lost: ended by SIGSEGV."]


def test_a_child_that_lost_its_job_and_stays_is_ended_in_silence(
    lab: WorkerLab, claim: Claim, fork: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is another worker's by then."""
    pulse = Pulse()
    child = fork(pulse, loses=True)
    assert not pulse.end_hung(lease_s=600)
    monkeypatch.setattr(pulses, "LEAVES_WITHIN_S", 0.1)
    wait_until(lambda: pulse.end_hung(lease_s=600), "its time is over", 30)
    assert wait_until(lambda: signal_that_ended(child), "its end", 30) == signal.SIGKILL
    assert log_of(lab, claim.job_id) == []
