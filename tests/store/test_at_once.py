"""What holds where writers do not take turns: each of these fails for a database that lets another
transaction come in between, and a store that counts on none to."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError

from app.contracts.changes import MAX_TAGS
from app.contracts.events import MetricsEvent
from app.contracts.jobs import JobKind, JobStatus, Queue
from app.contracts.placement import Priority
from app.errors import trouble
from app.store import (
    accounts,
    announcements,
    catalogue,
    job_queries,
    jobs,
    keys,
    losses,
    marks,
    parents,
    placement,
    shipped,
    thinning,
)
from app.store.db import Database, Turn
from app.store.files import Files
from app.store.jobs import NoRoom, Room
from app.store.losses import Loss
from app.store.parents import Step
from app.store.tables import EventRow, JobRow, MeasurementRow, ModelRow, UserRow, WebhookRow
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


def test_a_lost_job_whose_end_is_asked_for_meanwhile_ends(database: Database) -> None:
    """And is no lease that was lost to somebody else."""
    jobs.add(database, row := job_row())
    claim = jobs.claim(database, row.id, lease_s=60)
    assert claim is not None
    with meanwhile("SELECT", lambda: jobs.request_cancel(database, row.id)) as asked:
        losses.give_up(database, claim, Loss.of_worker())
    assert asked.result(20)
    after = job_queries.get(database, row.id)
    assert after is not None
    assert after.status == JobStatus.CANCELLED


def family(database: Database) -> tuple[str, list[str]]:
    """A parent and two children, whose ids and rows come before its own."""
    parent = job_row(id="f" * 32, kind=JobKind.ABLATION)
    children = [job_row(id=letter * 32, parent_id=parent.id) for letter in "ab"]
    jobs.add(database, children[0], [children[1], parent])
    return parent.id, [row.id for row in children]


def _tag(database: Database, ids: list[str]) -> None:
    marks.change(database, JobRow, ids, {"note": "x"}, more_tags=["x"])


def _lower(database: Database, ids: list[str]) -> None:
    placement.rank(database, ids, Priority.LOW)


@pytest.mark.parametrize("act", [_tag, _lower])
def test_a_family_is_changed_parents_first(
    database: Database, act: Callable[[Database, list[str]], None]
) -> None:
    """As it is cancelled: two that kept to other orders would wait for each other."""
    parent, children = family(database)
    with meanwhile("UPDATE", lambda: act(database, [*children, parent])) as acted:
        assert parents.request_cancel(database, parent) == children
    acted.result(20)


def models_of(database: Database) -> tuple[str, list[str]]:
    """A model in the bin, and the jobs in which it was trained and measured."""
    training, evaluation = (
        job_row(id=letter * 32, kind=kind, status=JobStatus.SUCCEEDED, finished_at=1.0, clean=0.5)
        for letter, kind in (("a", JobKind.TRAIN), ("b", JobKind.EVALUATE))
    )
    evaluation.parent_id = training.parent_id = "f" * 32
    jobs.add(database, job_row(id="f" * 32, kind=JobKind.ABLATION), [training, evaluation])
    card = {"kept": "best", "origin": "trained"}
    model = ModelRow(
        id="c" * 32, name="Net", job_id=training.id, created_at=1.0, deleted_at=1.0, sha256="",
        size_bytes=1, card=card,
    )  # fmt: skip
    measured = MeasurementRow(
        job_id=evaluation.id, position=0, at=1.0, model_id=model.id, model_name="Net",
        dataset_sha256="", dataset_name="", norm="linf", epsilon=0.1, goal="untargeted", images=10,
        clean=5,
    )  # fmt: skip
    with database.writing() as session:
        session.add_all([model, measured])
    return model.id, [training.id, evaluation.id]


@pytest.mark.parametrize("restored", [True, False], ids=["restored", "forgotten"])
def test_jobs_are_changed_before_what_came_from_them(database: Database, restored: bool) -> None:
    model, made_by = models_of(database)
    begins = "SELECT" if restored else "DELETE FROM models"
    with meanwhile(begins, lambda: marks.put_in_bin(database, JobRow, made_by)) as binned:
        if restored:
            marks.take_out_of_bin(database, ModelRow, [model])
        else:
            assert catalogue.drop_binned_models(database, older_than_s=0) == [model]
    binned.result(20)


def test_jobs_that_a_parent_gets_meanwhile_have_its_priority(database: Database) -> None:
    parent, children = family(database)

    def priorities() -> set[int]:
        rows = (job_queries.get(database, id_) for id_ in (parent, *children, "c" * 32, "d" * 32))
        return {row.priority for row in rows if row is not None}

    def submit(id_: str) -> bool:
        return parents.write(
            database, found.row, Step(children=(job_row(id=id_, parent_id=parent),))
        )

    (found,) = parents.unfinished(database)
    assert placement.rank(database, [parent], Priority.LOW)
    assert not submit("c" * 32), "as the parent was read it is no more"
    (found,) = parents.unfinished(database)
    with meanwhile("INSERT", lambda: placement.rank(database, [parent], Priority.HIGH)) as ranked:
        assert submit("d" * 32)
    assert ranked.result(20)
    assert priorities() == {Priority.HIGH.rank}


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


@pytest.mark.postgresql
def test_who_was_stopped_within_a_transaction_tries_again(database: Database) -> None:
    """The database went on without it, by no fault of what it was about."""

    def stop_within() -> None:
        with database.writing() as session:
            session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 20"))
            time.sleep(0.5)
            session.execute(text("SELECT 1"))

    with pytest.raises(DBAPIError) as found:
        stop_within()
    assert trouble(found.value) is not None
    assert database.answers()


@pytest.mark.postgresql
def test_two_that_wait_for_each_other_are_told_to_try_again(database: Database) -> None:
    jobs.add(database, job_row(id="a" * 32), [job_row(id="b" * 32)])

    def change(first: str, second: str) -> None:
        with database.writing() as session:
            for id_ in (first, second):
                session.execute(update(JobRow).where(JobRow.id == id_ * 32).values(note=first))

    with meanwhile("UPDATE", lambda: change("b", "a")) as other:
        errors = []
        try:
            change("a", "b")
        except DBAPIError as error:
            errors.append(error)
    if (error := other.exception(20)) is not None:
        errors.append(error)
    (ended,) = errors
    assert trouble(ended) == "Others were changing the same at that moment."
