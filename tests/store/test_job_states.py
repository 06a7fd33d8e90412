"""The truth about jobs under every order of calls, with stale workers among the callers."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.contracts.events import Event, LogEvent, ProgressEvent
from app.contracts.jobs import MAX_ATTEMPTS, TRANSITIONS, JobKind, JobStatus, Queue
from app.store import job_queries, jobs, losses
from app.store.db import Database
from app.store.files import Files
from app.store.jobs import Claim, DuplicateKey, LeaseLost
from tests.plugins.postgresql import SQLITE
from tests.plugins.rows import WORKER, job_row

HELD, EXPIRED = 1000.0, -1000.0
"""Leases that last, and leases that are over when they begin."""
HOUR_S = 3600.0
MOST_JOBS = 4


@dataclass
class Expected:
    """What the lab should believe of a job, by a model that knows no SQL."""

    status: JobStatus = JobStatus.QUEUED
    attempt: int = 0
    fence: int = 0
    lease_until: float = 0.0
    cancel: bool = False
    key: str | None = None
    artefact: str = ""
    """The checksum of what its success names."""
    states: list[JobStatus] = field(default_factory=lambda: [JobStatus.QUEUED])
    events: int = 1

    def enter(self, status: JobStatus) -> None:
        self.status = status
        self.states.append(status)
        self.events += 1

    def is_late(self, now: float) -> bool:
        """Whether its lease is over, or ends later than any can."""
        in_time = now <= self.lease_until <= now + HELD + 1
        return self.status is JobStatus.RUNNING and not in_time

    def lose(self) -> None:
        """Its worker is gone."""
        self.events += 1  # the line that says so
        if self.cancel:
            self.enter(JobStatus.CANCELLED)
        elif self.attempt == MAX_ATTEMPTS:
            self.enter(JobStatus.FAILED)
        else:
            self.enter(JobStatus.QUEUED)

    def is_held_by(self, claim: Claim) -> bool:
        return self.status is JobStatus.RUNNING and self.fence == claim.fence


class JobStates(RuleBasedStateMachine):
    """Submitters, a broker that loses and repeats, workers, a reconciler, a user with a cancel
    button and a clock that jumps, in any order."""

    submitted = Bundle("submitted")
    claims = Bundle("claims")

    def __init__(self, url: str) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.database = Database(url)
        self.files = Files(Path(self.folder))
        self.files.prepare()
        self.expected: dict[str, Expected] = {}
        self.created: dict[str, float] = {}
        self.messages: list[str] = []
        self.held: list[Claim] = []
        self.now = 1e9
        self.clock = mock.patch("time.time", self._time)
        self.clock.start()

    def _time(self) -> float:
        return self.now

    def teardown(self) -> None:
        self.clock.stop()
        self.database.close()
        shutil.rmtree(self.folder)

    @initialize(target=submitted)
    def first(self) -> str:
        return self._submitted(key="first")

    @rule(target=submitted, key=st.sampled_from([None, "first", "second"]))
    def submit(self, key: str | None) -> MultipleResults[str]:
        if len(self.expected) == MOST_JOBS:
            return multiple()
        taken = [job for job, e in self.expected.items() if key is not None and e.key == key]
        if not taken:
            return multiple(self._submitted(key))
        with pytest.raises(DuplicateKey) as found:
            jobs.add(self.database, job_row(idempotency_key=key, created_at=self.now))
        assert found.value.job.id == taken[0]
        return multiple()

    def _submitted(self, key: str | None) -> str:
        self.now += 1
        jobs.add(self.database, row := job_row(idempotency_key=key, created_at=self.now))
        self.expected[row.id], self.created[row.id] = Expected(key=key), self.now
        return row.id

    @rule(jump=st.sampled_from([-HOUR_S, HOUR_S, 1.0]))
    def clock_jumps(self, jump: float) -> None:
        self.now += jump

    @rule()
    def send(self) -> None:
        """What the reconciler does for jobs that the broker may have forgotten."""
        for job, *_ in job_queries.unsent(self.database, older_than_s=-2 * HOUR_S):
            self.messages.append(job)
            jobs.mark_sent(self.database, job, at=self.now)

    @rule(number=st.integers(0, 3))
    def drop(self, number: int) -> None:
        del self.messages[number : number + 1]

    @rule()
    def flush(self) -> None:
        self.messages.clear()

    @precondition(lambda self: self.messages)
    @rule(target=claims, again=st.booleans())
    def deliver(self, again: bool) -> MultipleResults[Claim]:
        """A message wakes a worker, or does so and stays to wake another."""
        if not again:
            self.messages.pop(0)
        found = self.claim_next(HELD)
        return multiple(found)

    @rule(target=claims, job=submitted, lease_s=st.sampled_from([HELD, EXPIRED]))
    def claim(self, job: str, lease_s: float) -> Claim:
        expected, claim = self.expected[job], jobs.claim(self.database, job, lease_s=lease_s)
        if expected.status is not JobStatus.QUEUED:
            assert claim is None
            return Claim(job, JobKind.TRAIN, {}, expected.attempt, fence=-1)
        assert claim is not None
        assert claim.fence > expected.fence
        assert claim.attempt == expected.attempt + 1 <= MAX_ATTEMPTS
        return self._claimed(claim, lease_s)

    def _claimed(self, claim: Claim, lease_s: float) -> Claim:
        expected = self.expected[claim.job_id]
        expected.attempt, expected.fence = claim.attempt, claim.fence
        expected.lease_until = self.now + lease_s
        expected.enter(JobStatus.RUNNING)
        self.held.append(claim)
        return claim

    def claim_next(self, lease_s: float) -> Claim:
        """Whatever message wakes a worker: one that names a job that is over, or none."""
        queued = [job for job, e in self.expected.items() if e.status is JobStatus.QUEUED]
        claim = jobs.claim_next(self.database, Queue.TRAIN, WORKER, lease_s=lease_s)
        if not queued:
            assert claim is None
            return Claim(next(iter(self.expected)), JobKind.TRAIN, {}, 0, fence=-1)
        assert claim is not None
        # What was interrupted goes on at the head. The clock may have been set back between two
        # submits.
        first = min(queued, key=lambda job: (self.expected[job].fence == 0, self.created[job], job))
        assert claim.job_id == first
        return self._claimed(claim, lease_s)

    @rule(claim=claims, lease_s=st.sampled_from([HELD, EXPIRED]))
    def renew(self, claim: Claim, lease_s: float) -> None:
        expected = self.expected[claim.job_id]
        if not expected.is_held_by(claim):
            with pytest.raises(LeaseLost):
                jobs.renew(self.database, claim, lease_s=lease_s)
            return
        jobs.renew(self.database, claim, lease_s=lease_s)
        expected.lease_until = self.now + lease_s

    @rule(claim=claims, lines=st.integers(1, 3))
    def report(self, claim: Claim, lines: int) -> None:
        expected = self.expected[claim.job_id]
        progress = ProgressEvent(done=lines, total=3, phase=f"fence {claim.fence}")
        events: list[Event] = [*(LogEvent(text="step") for _ in range(lines)), progress]
        if not expected.is_held_by(claim):
            with pytest.raises(LeaseLost):
                jobs.report(self.database, claim, events)
            return
        jobs.report(self.database, claim, events)
        expected.events += len(events)

    @rule(claim=claims)
    def look_for_cancel(self, claim: Claim) -> None:
        expected = self.expected[claim.job_id]
        if expected.is_held_by(claim):
            assert jobs.cancel_requested(self.database, claim) is expected.cancel
        else:
            with pytest.raises(LeaseLost):
                jobs.cancel_requested(self.database, claim)

    @rule(
        claim=claims,
        status=st.sampled_from([s for s in JobStatus if s.is_final]),
    )
    def settle(self, claim: Claim, status: JobStatus) -> None:
        """Also by a worker that writes its result, and does not know yet that it lost the job."""
        expected, row, result = self.expected[claim.job_id], job_row(), None
        if status is JobStatus.SUCCEEDED:
            said = LogEvent(text=f"What fence {claim.fence} found.")
            result = self.files.write_result(claim.result_name, said)
        if not expected.is_held_by(claim):
            with pytest.raises(LeaseLost):
                jobs.settle(self.database, claim, status, result_file=result, rows=[row])
            assert job_queries.get(self.database, row.id) is None
            return
        jobs.settle(self.database, claim, status, result_file=result)
        if result is not None:
            expected.artefact = self._checksum(claim.result_name)
        expected.enter(status)

    def _checksum(self, name: str) -> str:
        return hashlib.sha256(self.files.result(name).read_bytes()).hexdigest()

    @rule(claim=claims)
    def crash(self, claim: Claim) -> None:
        """The worker's child ends, and its parent tells of it."""
        expected, loss = self.expected[claim.job_id], losses.Loss.of_worker("ended by SIGKILL")
        if not expected.is_held_by(claim):
            with pytest.raises(LeaseLost):
                losses.give_up(self.database, claim, loss)
            return
        losses.give_up(self.database, claim, loss)
        expected.lose()

    @rule(claim=claims)
    def give_back(self, claim: Claim) -> None:
        expected = self.expected[claim.job_id]
        if not expected.is_held_by(claim):
            with pytest.raises(LeaseLost):
                jobs.give_back(self.database, claim)
            return
        jobs.give_back(self.database, claim)
        if expected.cancel:
            expected.enter(JobStatus.CANCELLED)
        else:
            expected.attempt -= 1
            expected.enter(JobStatus.QUEUED)

    @rule(claim=claims)
    def save(self, claim: Claim) -> None:
        """Another attempt would go on from there."""
        expected = self.expected[claim.job_id]
        if not expected.is_held_by(claim):
            with pytest.raises(LeaseLost):
                jobs.forgive(self.database, claim)
            return
        jobs.forgive(self.database, claim)
        expected.attempt = 1

    @rule(job=submitted)
    def cancel(self, job: str) -> None:
        expected = self.expected[job]
        assert jobs.request_cancel(self.database, job) is not expected.status.is_final
        if not expected.status.is_final:
            expected.cancel = True
        if expected.status is JobStatus.QUEUED:
            expected.enter(JobStatus.CANCELLED)

    @rule()
    def release_expired(self) -> None:
        lost = {job: e for job, e in self.expected.items() if e.is_late(self.now)}
        assert set(losses.release_expired(self.database, lease_s=HELD)) == set(lost)
        for expected in lost.values():
            expected.lose()

    @invariant()
    def rows_say_what_is_expected(self) -> None:
        for job, expected in self.expected.items():
            row = job_queries.get(self.database, job)
            assert row is not None
            found = (row.status, row.attempt, row.fence, row.cancel_requested)
            wanted = (expected.status, expected.attempt, expected.fence, expected.cancel)
            assert found == wanted
            assert row.attempt <= MAX_ATTEMPTS
            assert (row.finished_at is not None) == expected.status.is_final
            assert (row.lease_until is not None) == (expected.status is JobStatus.RUNNING)
            assert not (row.status == JobStatus.QUEUED and row.cancel_requested)

    @invariant()
    def events_tell_the_same_story(self) -> None:
        for job, expected in self.expected.items():
            log = job_queries.events_after(self.database, job, 0)
            assert [event.seq for event in log] == list(range(1, expected.events + 1))
            states = [e.body["status"] for e in log if e.body["type"] == "state"]
            assert states == expected.states
            for old, new in pairwise(states):
                assert JobStatus(new) in TRANSITIONS[JobStatus(old)]
            assert not any(JobStatus(state).is_final for state in states[:-1])
            if expected.status.is_final:
                assert log[-1].body["type"] == "state"

    @invariant()
    def one_lease_lives_at_most(self) -> None:
        for job, expected in self.expected.items():
            mine = [claim for claim in self.held if claim.job_id == job]
            assert len({claim.fence for claim in mine}) == len(mine)
            live = [claim for claim in mine if self._has(claim)]
            assert len(live) == (expected.status is JobStatus.RUNNING)

    def _has(self, claim: Claim) -> bool:
        try:
            jobs.cancel_requested(self.database, claim)
        except LeaseLost:
            return False
        return True

    @invariant()
    def success_has_the_artefact_of_who_had_the_job(self) -> None:
        for job, expected in self.expected.items():
            row = job_queries.get(self.database, job)
            assert row is not None
            succeeded = expected.status is JobStatus.SUCCEEDED
            assert (row.result_file is not None) == succeeded
            if succeeded:
                assert self._checksum(row.result_name) == expected.artefact

    @invariant()
    def unsent_are_the_queued(self) -> None:
        queued = {job for job, e in self.expected.items() if e.status is JobStatus.QUEUED}
        # Whenever they were sent, by whatever clock: no message is needed for a job to be sent.
        found = job_queries.unsent(self.database, older_than_s=-1e6)
        assert {job for job, *_ in found} == queued


def test_job_states(sql: str, fresh_url: Callable[[], str]) -> None:
    # On PostgreSQL a few: what it sees is the statements, and none comes in between.
    chosen = settings(max_examples=20 if sql == SQLITE else 4, stateful_step_count=40)
    run_state_machine_as_test(lambda: JobStates(fresh_url()), settings=chosen)


def test_the_third_lost_worker_fails_the_job_and_says_why(database: Database) -> None:
    row = job_row()
    jobs.add(database, row)
    for _ in range(MAX_ATTEMPTS):
        assert jobs.claim(database, row.id, lease_s=EXPIRED) is not None
        assert losses.release_expired(database, lease_s=HELD) == [row.id]
    after = job_queries.get(database, row.id)
    assert after is not None
    assert after.status == JobStatus.FAILED
    assert after.failure is not None
    assert "lost 3 times" in after.failure["detail"]
    assert after.failure["hint"]
