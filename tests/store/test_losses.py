"""When a worker counts as lost: by clocks that jump, and in spite of them."""

from __future__ import annotations

import time

import pytest

from app.contracts.jobs import MAX_ATTEMPTS, JobStatus
from app.store import job_queries, jobs, losses
from app.store.db import Database
from app.store.jobs import Claim, LeaseLost
from app.store.losses import Leases, Loss
from tests.plugins.rows import job_row

LEASE_S = 30.0
HOUR_S = 3600.0


class Clocks:
    """The clock of the day, which jumps, and the one that counts seconds, which does not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.day, self.steady = 1e9, 0.0
        monkeypatch.setattr(time, "time", lambda: self.day)
        monkeypatch.setattr(time, "monotonic", lambda: self.steady)

    def wait(self, seconds: float) -> None:
        self.day += seconds
        self.steady += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


@pytest.fixture
def claim(database: Database, clocks: Clocks) -> Claim:
    jobs.add(database, row := job_row())
    taken = jobs.claim(database, row.id, lease_s=LEASE_S)
    assert taken is not None
    return taken


def released_after(database: Database, clocks: Clocks, leases: Leases) -> float | None:
    """Looking every 2 s, as the lab does; None where the worker keeps the job for 2 minutes."""
    for seconds in range(0, 120, 2):
        if leases.release(database):
            return seconds
        clocks.wait(2)
    return None


def test_a_dead_worker_is_noticed_within_a_minute(
    database: Database, clocks: Clocks, claim: Claim
) -> None:
    found = released_after(database, clocks, Leases(LEASE_S))
    assert found is not None
    assert LEASE_S < found < 60


@pytest.mark.parametrize("jump", [-HOUR_S, HOUR_S])
def test_clocks_that_jump_cost_a_dead_workers_job_no_more_and_a_live_one_nothing(
    database: Database, clocks: Clocks, claim: Claim, jump: float
) -> None:
    leases = Leases(LEASE_S)
    assert leases.release(database) == []
    clocks.day += jump
    for _ in range(5):  # 10 s, until the worker renews
        assert leases.release(database) == []
        clocks.wait(2)
    jobs.renew(database, claim, lease_s=LEASE_S)
    assert leases.release(database) == []
    clocks.day += jump  # and now it is dead
    found = released_after(database, clocks, leases)
    assert found is not None
    assert found < 60


def test_who_could_not_renew_for_a_while_keeps_the_job(
    database: Database, clocks: Clocks, claim: Claim
) -> None:
    """The file was locked for 40 seconds; then everybody gets a turn, in any order."""
    leases = Leases(LEASE_S)
    clocks.wait(LEASE_S + 10)
    assert leases.release(database) == []
    clocks.wait(2)
    jobs.renew(database, claim, lease_s=LEASE_S)
    clocks.wait(LEASE_S / 2)
    assert leases.release(database) == []
    assert not jobs.cancel_requested(database, claim), "it would hear of a lost lease"


def test_the_end_of_a_worker_is_named(database: Database, claim: Claim) -> None:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        held = claim if attempt == 1 else jobs.claim(database, claim.job_id, lease_s=LEASE_S)
        assert held is not None
        losses.give_up(database, held, Loss.of_worker("ended by SIGKILL"))
        with pytest.raises(LeaseLost):
            losses.give_up(database, held, Loss.of_worker())
    row = job_queries.get(database, claim.job_id)
    assert row is not None
    assert row.status == JobStatus.FAILED
    assert row.failure is not None
    assert "lost 3 times (the last: ended by SIGKILL)" in row.failure["detail"]
    events = job_queries.events_after(database, row.id, 0)
    log = [event.body["text"] for event in events if "text" in event.body]
    assert log[0] == "The worker of attempt 1 was lost: ended by SIGKILL."
