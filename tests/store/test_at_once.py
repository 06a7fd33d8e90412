"""What holds where writers do not take turns: each of these fails for a database that lets another
transaction come in between, and a store that counts on none to."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update

from app.contracts.changes import MAX_TAGS
from app.contracts.events import MetricsEvent
from app.contracts.jobs import JobStatus, Queue
from app.store import accounts, announcements, job_queries, jobs, keys, marks, shipped, thinning
from app.store.db import Database, Turn
from app.store.files import Files
from app.store.jobs import NoRoom, Room
from app.store.tables import EventRow, JobRow, UserRow, WebhookRow
from tests.plugins.meanwhile import at_once, meanwhile
from tests.plugins.rows import WORKER, job_row
from tests.store.test_shipped import fill


def test_a_job_that_is_given_back_while_it_is_cancelled_is_cancelled(database: Database) -> None:
    jobs.add(database, row := job_row())
    claim = jobs.claim(database, row.id, lease_s=60)
    assert claim is not None
    with meanwhile("UPDATE", lambda: jobs.give_back(database, claim)) as given:
        assert jobs.request_cancel(database, row.id)
    given.result(20)
    after = job_queries.get(database, row.id)
    assert after is not None
    assert after.status == JobStatus.CANCELLED


def test_a_worker_takes_a_job_whose_row_is_held_for_a_moment(database: Database) -> None:
    """The reconciler sends it and notes so; the message must not be in vain."""
    jobs.add(database, row := job_row())
    with ThreadPoolExecutor(1) as pool:
        with database.writing() as session:
            session.execute(update(JobRow).values(sent_at=time.time()))
            claimed = pool.submit(jobs.claim_next, database, Queue.TRAIN, WORKER, lease_s=60)
            time.sleep(0.2)
        claim = claimed.result(20)
    assert claim is not None
    assert claim.job_id == row.id


def test_no_more_jobs_wait_than_may(database: Database) -> None:
    def submit(_: int) -> bool:
        try:
            jobs.add(database, job_row(), room=Room(3, 3))
        except NoRoom:
            return False
        return True

    assert sum(at_once(submit)) == job_queries.unfinished_count(database) == 3


def test_every_end_of_sessions_counts(database: Database) -> None:
    """Else who is about to sign in by an old password might come in."""
    accounts.add_user(database, "vera", "old", "viewer")
    user = accounts.named(database, "vera")
    assert user is not None
    with meanwhile("SELECT", lambda: accounts.end_sessions(database, user.id)) as ended:
        accounts.set_password(database, user.id, "new")
    ended.result(20)
    with database.reading() as session:
        assert session.get_one(UserRow, user.id).generation == user.generation + 2


def test_what_is_thinned_twice_at_once_loses_no_more(database: Database) -> None:
    def reported() -> str:
        jobs.add(database, row := job_row())
        claim = jobs.claim(database, row.id, lease_s=60)
        assert claim is not None
        points = (MetricsEvent(series="step", step=i, values={"loss": 1.0}) for i in range(400))
        jobs.report(database, claim, [*points])
        jobs.settle(database, claim, JobStatus.CANCELLED)
        return row.id

    def left(job_id: str) -> int:
        query = select(func.count()).select_from(EventRow).where(EventRow.job_id == job_id)
        with database.reading() as session:
            return session.scalar(query) or 0

    once, twice = reported(), reported()
    thinning.thin(database, once, points=50)
    at_once(lambda _: thinning.thin(database, twice, points=50), threads=2)
    thinning.thin(database, twice, points=50)
    assert left(twice) == left(once) < 150


def test_nobody_gets_more_tags_than_may_be(database: Database) -> None:
    jobs.add(database, row := job_row())

    def tag(i: int) -> bool:
        tags = [f"{i}-{n}" for n in range(MAX_TAGS // 2)]
        try:
            marks.change(database, JobRow, [row.id], {}, more_tags=tags)
        except marks.TooManyTags:
            return False
        return True

    assert sum(at_once(tag)) == 2
    assert len(marks.tags_of(database, JobRow, [row.id])[row.id]) == MAX_TAGS


def test_processes_that_start_at_once_make_one_of_each(database: Database, tmp_path: Path) -> None:
    box, files = fill(tmp_path / "box"), Files(tmp_path / "data")
    files.prepare()
    at_once(lambda _: shipped.register(database, files, box))
    at_once(lambda _: announcements.begin(database))
    assert len(set(at_once(lambda _: keys.kept(database, "cookies")))) == 1
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(WebhookRow)) == 1


def test_the_house_is_kept_by_one_process_and_then_by_another(database: Database, sql: str) -> None:
    other = Database(database.url)
    mine, others = database.duty(Turn.KEEP_HOUSE), other.duty(Turn.KEEP_HOUSE)
    assert mine.is_held()
    alone = sql == "postgresql"  # on SQLite there is one process to ask
    assert others.is_held() is not alone
    assert mine.is_held()
    mine.leave()
    assert others.is_held()
    assert mine.is_held() is not alone
    others.leave()
    other.close()
    assert mine.is_held()
    mine.leave()


@pytest.mark.postgresql
def test_who_lost_the_database_lost_the_house(database: Database) -> None:
    other = Database(database.url)
    mine, others = database.duty(Turn.KEEP_HOUSE), other.duty(Turn.KEEP_HOUSE)
    assert mine.is_held()
    end_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid()"
    with other.writing() as session:
        session.execute(text(f"{end_all} AND datname = current_database()"))
    with pytest.raises(Exception, match="terminat"):
        mine.is_held()
    assert others.is_held()
    assert not mine.is_held()
    others.leave()
    other.close()
