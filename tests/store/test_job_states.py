"""The truth about jobs under every order of calls, with stale workers among the callers."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

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
    rule,
)

from app.contracts.events import Event, LogEvent, ProgressEvent
from app.contracts.jobs import MAX_ATTEMPTS, TRANSITIONS, JobKind, JobStatus, Queue
from app.store import job_queries, jobs, losses
from app.store.db import Database
from app.store.jobs import Claim, LeaseLost
from tests.plugins.rows import job_row

HELD, EXPIRED = 1000.0, -1000.0
"""Leases that outlive the test, and leases that are over when they begin."""


@dataclass
class Expected:
    """What the lab should believe of a job, by a model that knows no SQL."""

    status: JobStatus = JobStatus.QUEUED
    attempt: int = 0
    fence: int = 0
    expired: bool = False
    cancel: bool = False
    states: list[JobStatus] = field(default_factory=lambda: [JobStatus.QUEUED])
    events: int = 1

    def enter(self, status: JobStatus) -> None:
        self.status = status
        self.states.append(status)
        self.events += 1

    def is_held_by(self, claim: Claim) -> bool:
        return self.status is JobStatus.RUNNING and self.fence == claim.fence


@lru_cache
def migrated() -> Path:
    """A database with empty tables, to copy."""
    path = Path(tempfile.mkdtemp(), "lab.sqlite3")
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.close()
    return path


class JobStates(RuleBasedStateMachine):
    """Submitters, workers, a reconciler and a user with a cancel button, in any order."""

    submitted = Bundle("submitted")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        shutil.copy(migrated(), self.folder)
        self.database = Database(f"sqlite:///{self.folder}/lab.sqlite3")
        self.expected: dict[str, Expected] = {}

    def teardown(self) -> None:
        self.database.close()
        shutil.rmtree(self.folder)

    @initialize(target=submitted, count=st.integers(1, 2))
    def submit(self, count: int) -> MultipleResults[str]:
        rows = [job_row() for _ in range(count)]
        for row in rows:
            jobs.add(self.database, row)
            self.expected[row.id] = Expected()
        return multiple(*(row.id for row in rows))

    @rule(target=claims, job=submitted, lease_s=st.sampled_from([HELD, EXPIRED]))
    def claim(self, job: str, lease_s: float) -> Claim:
        expected, claim = self.expected[job], jobs.claim(self.database, job, lease_s=lease_s)
        if expected.status is not JobStatus.QUEUED:
            assert claim is None
            return Claim(job, JobKind.TRAIN, {}, expected.attempt, fence=-1)
        assert claim is not None
        assert claim.fence > expected.fence
        assert claim.attempt == expected.attempt + 1 <= MAX_ATTEMPTS
        expected.attempt, expected.fence = claim.attempt, claim.fence
        expected.expired = lease_s < 0
        expected.enter(JobStatus.RUNNING)
        return claim

    @rule(target=claims, lease_s=st.sampled_from([HELD, EXPIRED]))
    def claim_next(self, lease_s: float) -> Claim:
        """Whatever message wakes a worker: one that names a job that is over, or none."""
        queued = [job for job, e in self.expected.items() if e.status is JobStatus.QUEUED]
        claim = jobs.claim_next(self.database, Queue.TRAIN, lease_s=lease_s)
        if not queued:
            assert claim is None
            return Claim(next(iter(self.expected)), JobKind.TRAIN, {}, 0, fence=-1)
        assert claim is not None
        assert claim.job_id == queued[0], "the oldest"
        expected = self.expected[claim.job_id]
        expected.attempt, expected.fence = claim.attempt, claim.fence
        expected.expired = lease_s < 0
        expected.enter(JobStatus.RUNNING)
        return claim

    @rule(claim=claims, lease_s=st.sampled_from([HELD, EXPIRED]))
    def renew(self, claim: Claim, lease_s: float) -> None:
        expected = self.expected[claim.job_id]
        if not expected.is_held_by(claim):
            with pytest.raises(LeaseLost):
                jobs.renew(self.database, claim, lease_s=lease_s)
            return
        jobs.renew(self.database, claim, lease_s=lease_s)
        expected.expired = lease_s < 0

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
        expected, row = self.expected[claim.job_id], job_row()
        if not expected.is_held_by(claim):
            with pytest.raises(LeaseLost):
                jobs.settle(self.database, claim, status, rows=[row])
            assert job_queries.get(self.database, row.id) is None
            return
        jobs.settle(self.database, claim, status)
        expected.enter(status)

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
    def forgive(self, claim: Claim) -> None:
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
        lost = {
            job: expected
            for job, expected in self.expected.items()
            if expected.status is JobStatus.RUNNING and expected.expired
        }
        assert set(losses.release_expired(self.database, lease_s=HELD)) == set(lost)
        for expected in lost.values():
            expected.events += 1  # the line that says so
            if expected.cancel:
                expected.enter(JobStatus.CANCELLED)
            elif expected.attempt == MAX_ATTEMPTS:
                expected.enter(JobStatus.FAILED)
            else:
                expected.enter(JobStatus.QUEUED)

    @invariant()
    def rows_say_what_is_expected(self) -> None:
        for job, expected in self.expected.items():
            row = job_queries.get(self.database, job)
            assert row is not None
            found = (row.status, row.attempt, row.fence, row.cancel_requested)
            wanted = (expected.status, expected.attempt, expected.fence, expected.cancel)
            assert found == wanted
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
            if expected.status.is_final:
                assert log[-1].body["type"] == "state"

    @invariant()
    def unsent_are_the_queued(self) -> None:
        queued = {job for job, e in self.expected.items() if e.status is JobStatus.QUEUED}
        assert {job for job, _ in job_queries.unsent(self.database, older_than_s=0)} == queued


TestJobStates = JobStates.TestCase
TestJobStates.settings = settings(max_examples=20, stateful_step_count=40)


def test_the_third_lost_worker_fails_the_job_and_says_why(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'lab.sqlite3'}")
    database.migrate()
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
    database.close()
