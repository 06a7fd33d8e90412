"""Parts of evaluations: theirs who have the job, taken by turns, and gone with its end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import func, select, update

from app.contracts.events import LogEvent
from app.contracts.jobs import MAX_ATTEMPTS, JobKind, JobStatus, Queue
from app.store import job_queries, jobs, losses, parents, shards
from app.store.db import Database
from app.store.jobs import Claim, LeaseLost
from app.store.losses import Loss
from app.store.tables import EventRow, JobRow, ShardRow
from tests.plugins.meanwhile import meanwhile
from tests.plugins.rows import job_row

FACTS = "of this environment"
PARENT = "f" * 32


def evaluation(database: Database, **values: object) -> Claim:
    """One that runs, with three parts and a preview."""
    row = job_row(kind=JobKind.EVALUATE, queue=Queue.EVALUATE, **values)
    jobs.add(database, row)
    claim = jobs.claim(database, row.id, lease_s=60)
    assert claim is not None
    shards.divide(database, claim, 3, FACTS, shared=True)
    with database.writing() as session:
        session.add(EventRow(job_id=row.id, seq=1000, type="preview", at=1.0, body={}))
    return claim


def taken(database: Database, claim: Claim) -> shards.ShardClaim:
    part = shards.claim_of(database, claim, worker="w", lease_s=60)
    assert part is not None
    return part


def left(database: Database, table: type[ShardRow | EventRow], *conditions: object) -> int:
    with database.reading() as session:
        query = select(func.count()).select_from(table).where(*conditions)
        return session.scalar(query) or 0


def _succeeds(database: Database, claim: Claim) -> None:
    jobs.settle(database, claim, JobStatus.SUCCEEDED)


def _fails(database: Database, claim: Claim) -> None:
    jobs.settle(database, claim, JobStatus.FAILED, failure={})


def _is_cancelled(database: Database, claim: Claim) -> None:
    assert jobs.request_cancel(database, claim.job_id)
    jobs.settle(database, claim, JobStatus.CANCELLED)


def _is_cancelled_while_it_is_given_back(database: Database, claim: Claim) -> None:
    assert jobs.request_cancel(database, claim.job_id)
    jobs.give_back(database, claim)


def _is_cancelled_while_it_waits(database: Database, claim: Claim) -> None:
    jobs.give_back(database, claim)
    assert jobs.request_cancel(database, claim.job_id)


def _is_cancelled_with_its_parent(database: Database, claim: Claim) -> None:
    jobs.give_back(database, claim)
    assert parents.request_cancel(database, PARENT) == [claim.job_id]


def _is_cancelled_and_lost(database: Database, claim: Claim) -> None:
    assert jobs.request_cancel(database, claim.job_id)
    losses.give_up(database, claim, Loss.of_worker())


def _is_lost_for_good(database: Database, claim: Claim) -> None:
    with database.writing() as session:
        lost = update(JobRow).where(JobRow.id == claim.job_id)
        session.execute(lost.values(attempt=MAX_ATTEMPTS, lease_until=1.0))
    assert losses.release_expired(database, lease_s=60) == [claim.job_id]


@pytest.mark.parametrize(
    "ends",
    [
        _succeeds, _fails, _is_cancelled, _is_cancelled_while_it_is_given_back,
        _is_cancelled_while_it_waits, _is_cancelled_with_its_parent, _is_cancelled_and_lost,
        _is_lost_for_good,
    ],
)  # fmt: skip
def test_parts_and_previews_go_with_every_end(
    database: Database, ends: Callable[[Database, Claim], None]
) -> None:
    jobs.add(database, job_row(id=PARENT, kind=JobKind.ABLATION))
    other, claim = evaluation(database), evaluation(database, parent_id=PARENT)
    ends(database, claim)
    after = job_queries.get(database, claim.job_id)
    assert after is not None
    assert JobStatus(after.status).is_final
    assert left(database, ShardRow) == 3, "those of the other evaluation"
    assert left(database, EventRow, EventRow.type == "preview") == 1
    assert len(shards.of_job(database, other.job_id)) == 3


def test_parts_stay_while_their_job_waits(database: Database) -> None:
    claim = evaluation(database)
    losses.give_up(database, claim, Loss.of_worker())
    assert len(shards.of_job(database, claim.job_id)) == 3


def test_who_lost_the_job_says_no_more_which_parts_it_has(database: Database) -> None:
    old = evaluation(database)
    jobs.give_back(database, old)
    new = jobs.claim(database, old.job_id, lease_s=60)
    assert new is not None
    shards.finish(database, taken(database, new), 1.0)
    writes: list[Callable[[], None]] = [
        lambda: shards.divide(database, old, 9, "other facts", shared=True),
        lambda: shards.drop(database, old, first=0),
        lambda: shards.begin_anew(database, old, 0),
    ]
    for write in writes:
        with pytest.raises(LeaseLost):
            write()
    assert [part.finished for part in shards.of_job(database, new.job_id)] == [True, False, False]
    jobs.settle(database, new, JobStatus.FAILED, failure={})
    with pytest.raises(LeaseLost):
        shards.divide(database, new, 3, FACTS, shared=True)
    assert left(database, ShardRow) == 0


def test_an_attempt_that_gained_something_and_is_given_back_counts_as_none(
    database: Database,
) -> None:
    claim = evaluation(database)
    for _ in range(2):
        part = taken(database, claim)
        with database.writing() as session:
            session.execute(update(ShardRow).values(lease_until=1.0))
    part = taken(database, claim)
    assert part.attempt == 3
    shards.forgive(database, part)
    shards.give_back(database, part)
    with pytest.raises(LeaseLost):  # told twice
        shards.give_back(database, part)
    assert taken(database, claim).attempt == 1


def test_nobody_takes_a_part_once_its_workers_were_lost_too_often(database: Database) -> None:
    claim = evaluation(database)
    for _ in range(MAX_ATTEMPTS):
        assert taken(database, claim).number == 0
        with database.writing() as session:
            session.execute(update(ShardRow).values(lease_until=1.0))
    assert taken(database, claim).number == 1
    given_up = shards.of_job(database, claim.job_id)[0]
    assert shards.is_given_up(given_up)
    shards.begin_anew(database, claim, 0)  # as where what came of it is damaged
    assert taken(database, claim).number == 0


def test_parts_of_another_environment_begin_anew_whatever_befell_them(database: Database) -> None:
    claim = evaluation(database)
    shards.fail(database, taken(database, claim), {"detail": "Out of memory.", "hint": ""})
    shards.divide(database, claim, 3, "another environment", shared=True)
    assert [part.failure for part in shards.of_job(database, claim.job_id)] == [None] * 3
    assert [taken(database, claim).number for _ in range(3)] == [0, 1, 2]


def test_a_helper_that_speaks_while_the_job_ends_holds_up_nobody(database: Database) -> None:
    """Both change the job and its parts: in one order, or each would wait for the other."""
    claim = evaluation(database)
    part = taken(database, claim)
    with meanwhile("UPDATE shards", lambda: _succeeds(database, claim)) as ended:
        shards.report(database, part, [LogEvent(text="Half of it.")])
    ended.result(20)
    assert left(database, ShardRow) == 0
    with pytest.raises(LeaseLost):
        shards.report(database, part, [LogEvent(text="More.")])
