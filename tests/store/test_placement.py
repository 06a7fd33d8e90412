"""Which job a worker takes: by need, by priority, by share, by age; and never one it cannot run."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, delete, text
from sqlalchemy.dialects import sqlite

from app.ablations import lifecycle
from app.contracts.jobs import JobKind, JobStatus, Queue
from app.contracts.params import Device, EvaluateParams, Params, ReleaseParams, TrainParams
from app.contracts.placement import (
    RECENT_S,
    Needs,
    Offer,
    OfferedGpu,
    Priority,
    lacking,
)
from app.settings import RELEASE
from app.store import job_queries, jobs, parents, placement
from app.store.db import Database
from app.store.jobs import Claim
from app.store.parents import Step
from app.store.tables import DrainRow, EventRow, JobRow
from tests.plugins.families import ablation_params
from tests.plugins.postgresql import SQLITE
from tests.plugins.rows import WORKER, job_row
from tests.plugins.statements import statements

HELD = 1e6
GPU = Offer(name="train@gpu", release=RELEASE, gpus=(OfferedGpu(name="H100", memory_mb=80_000),))
OTHER = WORKER.model_copy(update={"name": "train@there"})
AT_ONCE = 6
ID = "1" * 32


SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
"""Examples have one database among them, and empty it."""


def at_time(now: float) -> AbstractContextManager[object]:
    return mock.patch("time.time", return_value=now)


def emptied(database: Database) -> None:
    with database.writing() as session:
        for table in (EventRow, JobRow, DrainRow):
            session.execute(delete(table))


def take(database: Database, worker: Offer = WORKER) -> Claim | None:
    return jobs.claim_next(database, Queue.TRAIN, worker, lease_s=HELD)


def taken(database: Database, worker: Offer = WORKER) -> str:
    claim = take(database, worker)
    assert claim is not None
    return claim.job_id


def at(now: float, database: Database) -> Claim:
    """What is taken at a moment."""
    with at_time(now):
        claim = take(database)
    assert claim is not None
    return claim


def end(database: Database, claim: Claim) -> None:
    jobs.settle(database, claim, JobStatus.FAILED, failure={"title": "", "detail": "", "hint": ""})


@dataclass
class Job:
    """What a lab in Python knows of a job."""

    id: str
    owner: str | None
    parent: str | None
    priority: int
    gpus: int
    created: float
    began: float | None = None
    """When it was last taken."""
    left: float = 0.0
    state: str = "queued"

    def take(self, now: float) -> None:
        self.state, self.began = "running", now

    def leave(self, state: str, now: float) -> None:
        self.state, self.left = state, now


class Model:
    """The rules in plain Python: no SQL, nothing shared with what is tested."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}

    def next(self, gpus: int, now: float) -> str | None:
        waits = [job for job in self.jobs.values() if job.state == "queued" and job.gpus <= gpus]
        return min(waits, key=lambda job: self._rank(job, now)).id if waits else None

    def _rank(self, job: Job, now: float) -> tuple[object, ...]:
        of_owner = [each for each in self.jobs.values() if each.owner == job.owner]
        of_family = [each for each in of_owner if each.parent == job.parent]
        shares = [share for group in (of_owner, of_family) for share in self._share(group, now)]
        return (-job.priority, job.began is None, *shares, job.created, job.id)

    def _share(self, group: list[Job], now: float) -> tuple[int, float]:
        running = [job for job in group if job.state == "running"]
        over = [job for job in group if job.state == "over"]
        since = now - RECENT_S[Queue.TRAIN]
        worked = [(job.began, now) for job in running] + [(job.began, job.left) for job in over]
        seconds = sum(left - max(began or 0.0, since) for began, left in worked if left > since)
        return len(running), seconds


_ASKED = st.tuples(
    st.sampled_from([None, "a" * 32, "b" * 32]),
    st.sampled_from([None, "c" * 32]),
    st.sampled_from([0, 0, 0, 1, -1]),
    st.sampled_from([0, 0, 1]),
)
"""Owner, parent, priority and GPUs of a job."""
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take on a GPU", "end", "interrupt"]),
        st.integers(0, 5),
        st.sampled_from([1.0, 600.0, 90_000.0]),
    ),
    min_size=20,
    max_size=30,
)
"""What happens, to which of the jobs that run, and how long after what happened before."""


@settings(SHARED, max_examples=10)
@given(asked=st.lists(_ASKED, min_size=10, max_size=16), steps=_STEPS)
def test_every_choice_is_that_of_the_rules(
    database: Database,
    asked: list[tuple[str | None, str | None, int, int]],
    steps: list[tuple[str, int, float]],
) -> None:
    now = 1e9
    model, held, rows = Model(), list[Claim](), list[JobRow]()
    emptied(database)
    for number, (owner, parent, priority, gpus) in enumerate(asked):
        # Not in the order of their ids, nor of their rows.
        at = now - 10 * (7 * number % len(asked))
        values = {"owner_id": owner, "parent_id": parent, "priority": priority, "needs_gpus": gpus}
        rows.append(job_row(created_at=at, **values))
        model.jobs[rows[-1].id] = Job(rows[-1].id, owner, parent, priority, gpus, at)
    with database.writing() as session:
        jobs.add_all(session, rows)
    for what, which, later in steps:
        now += later
        with at_time(now):
            if what.startswith("take"):
                worker = GPU if what.endswith("GPU") else WORKER
                expected = model.next(len(worker.gpus), now)
                claim = take(database, worker)
                assert (claim and claim.job_id) == expected
                if claim is not None:
                    held.append(claim)
                    model.jobs[claim.job_id].take(now)
            elif held:
                claim = held.pop(which % len(held))
                (end if what == "end" else jobs.give_back)(database, claim)
                model.jobs[claim.job_id].leave("over" if what == "end" else "queued", now)


def test_nobody_starves_beside_whoever_submits_without_end(database: Database) -> None:
    """Neither another owner's stream of jobs nor an ablation's keeps one waiting."""
    now, rounds = 1e9, 0
    for number in range(20):
        jobs.add(database, job_row(owner_id="a" * 32, created_at=now - 1000 + number))
    jobs.add(database, waits := job_row(owner_id="b" * 32, created_at=now))
    while (claim := at(now, database)).job_id != waits.id:
        rounds, now = rounds + 1, now + 60
        with at_time(now):
            end(database, claim)
        jobs.add(database, job_row(owner_id="a" * 32, created_at=now))
    assert rounds <= 1


def test_owners_that_come_new_hold_nobody_up_for_longer_than_work_counts(
    database: Database,
) -> None:
    now, hour = 1e9, 3600.0
    jobs.add(database, job_row(owner_id="b" * 32, created_at=now))
    claim = at(now, database)
    with at_time(now + hour):
        end(database, claim)
    now = submitted = now + hour
    jobs.add(database, waits := job_row(owner_id="b" * 32, created_at=now))
    for number in range(100):
        jobs.add(database, job_row(owner_id=f"{number:032x}", created_at=now))
        claim = at(now, database)
        if claim.job_id == waits.id:
            break
        now += hour
        with at_time(now):
            end(database, claim)
    assert claim.job_id == waits.id
    assert hour <= now - submitted <= RECENT_S[Queue.TRAIN] + 2 * hour


def test_a_long_ablation_does_not_hold_up_a_job_of_the_same_owner(database: Database) -> None:
    parent = "c" * 32
    for number in range(30):
        jobs.add(database, job_row(parent_id=parent, created_at=100.0 + number))
    first = take(database)
    assert first is not None
    jobs.add(database, single := job_row(created_at=500.0))
    end(database, first)
    assert taken(database) == single.id
    then = job_queries.get(database, taken(database))
    assert then is not None
    assert then.parent_id == parent


def test_priorities_come_first_and_what_was_interrupted_heads_its_own(database: Database) -> None:
    rows = {
        priority: job_row(priority=priority.rank, created_at=10.0 - priority.rank)
        for priority in Priority
    }
    for row in rows.values():
        jobs.add(database, row)
    older = job_row(created_at=1.0)
    assert taken(database) == rows[Priority.HIGH].id
    claim = take(database)
    assert claim is not None
    assert claim.job_id == rows[Priority.NORMAL].id
    jobs.add(database, older)
    jobs.give_back(database, claim)
    assert taken(database) == rows[Priority.NORMAL].id, "it goes on before what has not begun"
    assert taken(database) == older.id
    assert taken(database) == rows[Priority.LOW].id
    assert take(database) is None


def test_ranking_a_parent_ranks_what_waits_of_it(database: Database) -> None:
    parent = job_row(kind=JobKind.ABLATION)
    children = [job_row(parent_id=parent.id) for _ in range(2)]
    jobs.add(database, parent, children)
    jobs.add(database, other := job_row(priority=-1, created_at=1.0))
    placement.rank(database, [parent.id], Priority.LOW)
    assert taken(database) in {children[0].id, children[1].id, other.id}
    ranks = {row.id: row.priority for row in job_queries.unfinished(database)}
    assert set(ranks.values()) == {-1}


@settings(SHARED, max_examples=40)
@given(
    gpus=st.integers(0, 3),
    memory=st.sampled_from([0, 900, 4000, 100_000]),
    release=st.sampled_from([0, RELEASE, RELEASE + 1]),
    offered=st.lists(st.sampled_from([None, 1000, 5000]), max_size=3),
    machine=st.sampled_from([None, 1000, 64_000]),
    own=st.sampled_from([0, RELEASE, RELEASE + 1]),
)
def test_a_worker_takes_just_what_it_does_not_lack_anything_for(
    database: Database,
    gpus: int,
    memory: int,
    release: int,
    offered: list[int | None],
    machine: int | None,
    own: int,
) -> None:
    worker = Offer(
        name="w",
        memory_mb=machine,
        gpus=tuple(OfferedGpu(name="G", memory_mb=room) for room in offered),
        release=own,
    )
    needs = Needs(gpus=gpus, memory_mb=memory, release=release)
    emptied(database)
    jobs.add(database, job_row(needs_gpus=gpus, needs_memory_mb=memory, release=release))
    assert (take(database, worker) is None) is bool(lacking(needs, [worker]))


def test_a_drained_worker_takes_nothing_until_it_is_resumed(database: Database) -> None:
    jobs.add(database, job_row(id="a" * 32, created_at=1.0))
    jobs.add(database, job_row(id="b" * 32, created_at=2.0))
    placement.drain(database, WORKER.name, by="ada")
    placement.drain(database, WORKER.name, by="bea")
    assert take(database) is None
    assert taken(database, OTHER) == "a" * 32
    assert placement.drains(database)[WORKER.name].by == "ada"
    placement.resume(database, WORKER.name)
    assert taken(database) == "b" * 32
    placement.resume(database, WORKER.name)


def test_workers_that_choose_at_once_share_between_owners(database: Database, sql: str) -> None:
    """Where writers take turns; elsewhere each still has a job of its own."""
    for number in range(20):
        jobs.add(database, job_row(owner_id="a" * 32, created_at=100.0 + number))
    for number in range(4):
        jobs.add(database, job_row(owner_id="b" * 32, created_at=500.0 + number))
    barrier = threading.Barrier(AT_ONCE)

    def run(number: int) -> Claim | None:
        barrier.wait()
        return take(database, WORKER.model_copy(update={"name": f"train@{number}"}))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        claims = [claim for claim in pool.map(run, range(AT_ONCE)) if claim is not None]
    assert len({claim.job_id for claim in claims}) == AT_ONCE
    rows = job_queries.by_id(database, [claim.job_id for claim in claims])
    if sql == SQLITE:
        assert Counter(row.owner_id for row in rows.values()) == {"a" * 32: 3, "b" * 32: 3}
    assert {row.worker for row in rows.values()} == {f"train@{n}" for n in range(AT_ONCE)}


@pytest.mark.sqlite
def test_a_choice_is_one_question_that_indexes_answer(database: Database) -> None:
    """However many jobs wait and however long the lab's history is: long rows are not read."""
    for _ in range(3):
        jobs.add(database, job_row())
    with statements() as asked:
        assert take(database) is not None
    assert sum("row_number" in each or "ORDER BY" in each for each in asked) == 1
    choice = placement.next_job(Queue.TRAIN, WORKER, now=1e9)
    query = choice.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    with database.reading() as session:
        plan = "\n".join(str(row) for row in session.execute(text(f"EXPLAIN QUERY PLAN {query}")))
    assert "USING COVERING INDEX jobs_waiting (status=? AND queue=?)" in plan
    assert "USING COVERING INDEX jobs_worked (queue=? AND finished_at>?)" in plan
    assert "SCAN jobs" not in plan


def test_what_waits_is_counted_by_need_since_it_waits(database: Database) -> None:
    jobs.add(database, job_row(created_at=100.0))
    jobs.add(database, job_row(created_at=50.0, needs_gpus=1))
    jobs.add(database, job_row(created_at=1.0, kind=JobKind.ABLATION))
    claim = take(database, GPU)
    assert claim is not None
    with at_time(300.0):
        jobs.give_back(database, claim)
    found = {each.needs.gpus: (each.count, each.since) for each in placement.waiting(database)}
    assert found == {0: (1, 100.0), 1: (1, 300.0)}, "it waits since it came back"


def test_jobs_before_another_are_those_that_can_come_before_it(database: Database) -> None:
    rows: dict[str, JobRow] = {
        "first": job_row(created_at=1.0, owner_id="a" * 32),
        "gpu": job_row(created_at=2.0, owner_id="a" * 32, needs_gpus=1),
        "second": job_row(created_at=3.0, owner_id="a" * 32),
        "later gpu": job_row(created_at=4.0, owner_id="a" * 32, needs_gpus=1),
        "raised": job_row(created_at=5.0, owner_id="a" * 32, priority=1),
        "part": job_row(created_at=6.0, owner_id="a" * 32, parent_id="c" * 32),
        "another's": job_row(created_at=7.0, owner_id="b" * 32),
    }
    for row in rows.values():
        jobs.add(database, row)
    found = placement.before(database, [row.id for row in rows.values()])
    assert {name: found[row.id] for name, row in rows.items()} == {
        "first": 1, "gpu": 2, "second": 2, "later gpu": 4, "raised": 0, "part": 0, "another's": 0,
    }  # fmt: skip


def test_an_older_database_is_brought_up_to_date(tmp_path: Path) -> None:
    """Jobs of before have no needs, and what ran then is known to have run."""
    shutil.copyfile(_old(tmp_path), tmp_path / "lab.sqlite3")
    database = Database(f"sqlite:///{tmp_path / 'lab.sqlite3'}")
    database.migrate()
    row = job_queries.get(database, "a" * 32)
    assert row is not None
    assert (row.priority, placement.needs_of(row), row.claimed_at) == (0, Needs(), 5.0)
    database.close()


def _old(folder: Path) -> Path:
    """A database as it was before workers said what they have."""
    from alembic import command
    from alembic.config import Config

    from app.store import db

    engine, config = create_engine(f"sqlite:///{folder / 'old.sqlite3'}"), Config()
    config.set_main_option("script_location", str(Path(db.__file__).with_name("migrations")))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0011")
        columns = "id, kind, status, queue, title, params, created_at, started_at, attempt, fence"
        values = f"'{'a' * 32}', 'train', 'running', 'train', 'T', '{{}}', 1.0, 5.0, 1, 1"
        insert = (
            f"INSERT INTO jobs ({columns}, cancel_requested, last_event) VALUES ({values}, 0, 1)"
        )
        connection.execute(text(insert))
        connection.commit()
    engine.dispose()
    return folder / "old.sqlite3"


@pytest.mark.parametrize(
    ("needs", "offers", "said"),
    [
        (Needs(gpus=1), [WORKER], "It needs a GPU: none is here."),
        (Needs(gpus=2), [WORKER, GPU],
         "It needs 2 GPUs in one worker: the most that one has is 1."),
        (Needs(memory_mb=2048), [WORKER.model_copy(update={"memory_mb": 1024})],
         "It needs 2 GB of memory: the most that a worker for it has is 1 GB."),
        (Needs(release=RELEASE + 1), [WORKER],
         "It was submitted or begun by a newer version of the lab than that of the workers."),
        (Needs(gpus=1), [WORKER, GPU], ""),
        (Needs(memory_mb=10**6), [WORKER], ""),
        (Needs(gpus=9), [], ""),
    ],
)  # fmt: skip
def test_what_workers_lack_is_said(needs: Needs, offers: list[Offer], said: str) -> None:
    assert lacking(needs, offers) == said


@pytest.mark.parametrize(
    ("params", "gpus"),
    [
        (TrainParams(name="T", dataset=ID, processes=4, batch_size=128), 0),
        (TrainParams(name="T", dataset=ID, device=Device.GPU), 1),
        (TrainParams(name="T", dataset=ID, device=Device.GPU, processes=4, batch_size=128), 4),
        (EvaluateParams(models=(ID,), dataset=ID, device=Device.GPU), 1),
        (ablation_params(training={"device": "gpu"}), 1),
        (ReleaseParams(model=ID), 0),
    ],
)
def test_parameters_say_how_many_gpus_a_job_needs(params: Params, gpus: int) -> None:
    row = jobs.queued(JobKind.TRAIN, "T", params)
    assert (row.needs_gpus, row.release) == (gpus, RELEASE)


def test_what_a_newer_worker_has_begun_no_older_one_goes_on_with(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.add(database, job_row())
    newer = WORKER.model_copy(update={"release": RELEASE + 1})
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "RELEASE", RELEASE + 1)
        claim = take(database, newer)
    assert claim is not None
    jobs.give_back(database, claim)
    assert take(database) is None
    assert take(database, newer) is not None


def test_the_jobs_of_an_ablation_run_where_and_when_it_does(database: Database) -> None:
    params = ablation_params(training={"device": "gpu"}, recipes=("clean",), seeds=(0,))
    parent = jobs.queued(JobKind.ABLATION, "A", params)
    parent.priority, parent.owner_id = -1, "a" * 32
    (child,) = lifecycle.trainings(parent.id, params)
    assert child.needs_gpus == 1
    evaluation = job_row(id="e" * 32, kind=JobKind.EVALUATE, parent_id=parent.id)
    jobs.add(database, parent)
    assert parents.write(database, parent, Step(children=(evaluation,)))
    added = job_queries.get(database, evaluation.id)
    assert added is not None
    assert (added.owner_id, added.priority) == ("a" * 32, -1)
    assert params.measure is not None
    assert params.measure.of(ID, params.training).device is Device.GPU
