"""What is held is renewed for as long as somebody works on it, whatever the database does."""

from __future__ import annotations

import threading

import pytest

from app.store.jobs import LeaseLost
from worker.jobs.lease import renewed


def test_a_lease_is_renewed_until_the_work_ends() -> None:
    renewals = threading.Semaphore(0)
    with renewed("job 1", renewals.release, lease_s=0.03):
        for _ in range(3):
            assert renewals.acquire(timeout=30)
    assert not [each for each in threading.enumerate() if each.name == "lease"]


def test_a_database_that_is_away_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    answers, again = iter([OSError("away"), OSError("away")]), threading.Event()

    def renew() -> None:
        for error in answers:
            raise error
        again.set()

    with renewed("part 3 of job 1", renew, lease_s=0.03):
        assert again.wait(30)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["part 3 of job 1: the lease was not renewed: away"] * 2


def test_a_lost_lease_is_told_once_and_renewed_no_more() -> None:
    asked, told = threading.Semaphore(0), threading.Semaphore(0)

    def renew() -> None:
        asked.release()
        raise LeaseLost

    with renewed("job 1", renew, lease_s=0.003, lost=told.release):
        assert told.acquire(timeout=30)
        assert asked.acquire(timeout=30)
        assert not asked.acquire(timeout=0.05)
    assert not told.acquire(blocking=False)
