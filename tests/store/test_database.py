"""Migrations, transactions and concurrent writers on a real SQLite file."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError

from app.contracts.events import LogEvent, MetricsEvent, ProgressEvent
from app.contracts.jobs import JobKind, JobStatus, Queue
from app.contracts.results import EvaluationSummary
from app.store import db, job_queries, jobs, losses, measurements
from app.store.db import Database
from app.store.jobs import DuplicateKey
from app.store.schema import LATEST
from app.store.tables import JobRow, MeasurementRow, ModelRow, Table
from tests.plugins.meanwhile import at_once
from tests.plugins.postgresql import Cluster
from tests.plugins.rows import WORKER, job_row
from tests.web.example_evaluation import full_evaluation

WORKERS = 6


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.filterwarnings(
    "ignore:autogenerate skipping metadata-specified expression-based index"
)
def test_migrations_make_the_tables_that_the_code_declares(database: Database) -> None:
    engine = create_engine(database.url)
    declared = {index.name for table in Table.metadata.tables.values() for index in table.indexes}
    named = "SELECT name FROM sqlite_master WHERE type = 'index'"
    if engine.dialect.name == "postgresql":
        named = "SELECT indexname FROM pg_indexes"
    with engine.connect() as connection:
        assert declared <= set(connection.scalars(text(named)))
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []
        assert context.get_current_revision() == LATEST
    engine.dispose()


def test_who_finds_the_schema_up_to_date_loads_no_migrations(database: Database) -> None:
    program = (
        "import sys; from app.store.db import Database\n"
        "Database(sys.argv[1]).migrate()\n"
        "assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, database.url], check=True)


def test_processes_that_start_on_nothing_at_once_all_find_their_tables(bare_url: str) -> None:
    program = (
        "import sys; from app.store.db import Database; from app.store import job_queries\n"
        "database = Database(sys.argv[1]); sys.stdin.readline(); database.migrate()\n"
        "assert job_queries.get(database, 'none') is None"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, bare_url], stdin=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]  # fmt: skip
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    complaints = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * 3, complaints


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT * FROM jobs WHERE id >= '5e' AND id < '5eg' ORDER BY created_at DESC, id DESC",
         "(id>? AND id<?)"),
        ("SELECT * FROM models WHERE name = 'Twin' AND deleted_at IS NULL", "models_by_name"),
        ("SELECT * FROM jobs WHERE announced_at IS NULL AND finished_at >= 1 AND "
         "deleted_at IS NULL ORDER BY finished_at, id LIMIT 1", "jobs_to_announce"),
    ],
)  # fmt: skip
def test_what_is_looked_for_by_name_is_not_searched_row_by_row(
    database: Database, query: str, index: str
) -> None:
    with database.reading() as session:
        plan = [str(row) for row in session.execute(text(f"EXPLAIN QUERY PLAN {query}"))]
    assert index in plan[0]


def test_migrating_twice_changes_nothing(database: Database) -> None:
    jobs.add(database, job_row(id="a" * 32))
    database.migrate()
    assert job_queries.get(database, "a" * 32) is not None


def test_one_of_many_workers_wins_a_job(database: Database) -> None:
    row = job_row()
    jobs.add(database, row)
    claims = at_once(lambda _: jobs.claim(database, row.id, lease_s=60))
    assert sum(claim is not None for claim in claims) == 1
    after = job_queries.get(database, row.id)
    assert after is not None
    assert (after.attempt, after.fence, after.last_event) == (1, 1, 2)


def test_workers_take_the_oldest_of_their_queue_each_another(database: Database) -> None:
    rows = [job_row(created_at=100.0 + n, id=f"{9 - n}" * 32) for n in range(WORKERS)]
    for row in [*rows[3:], *rows[:3]]:
        jobs.add(database, row)
    jobs.add(database, job_row(created_at=1.0, queue=Queue.LIVE))
    jobs.add(database, job_row(created_at=1.0, kind=JobKind.ABLATION))
    first = jobs.claim_next(database, Queue.TRAIN, WORKER, lease_s=60)
    assert first is not None
    assert first.job_id == rows[0].id
    jobs.give_back(database, first)
    claims = at_once(lambda _: jobs.claim_next(database, Queue.TRAIN, WORKER, lease_s=60))
    assert {claim.job_id for claim in claims if claim} == {row.id for row in rows}
    assert jobs.claim_next(database, Queue.TRAIN, WORKER, lease_s=60) is None


def test_one_of_many_reconcilers_releases_a_job(database: Database) -> None:
    row = job_row()
    jobs.add(database, row)
    jobs.claim(database, row.id, lease_s=-1)
    released = at_once(lambda _: losses.release_expired(database, lease_s=60))
    assert sorted(released) == [[]] * (WORKERS - 1) + [[row.id]]


def test_reports_of_two_threads_leave_no_gap(database: Database) -> None:
    row = job_row()
    jobs.add(database, row)
    claim = jobs.claim(database, row.id, lease_s=60)
    assert claim is not None

    def report(i: int) -> None:
        for _ in range(5):
            jobs.report(database, claim, [LogEvent(text=f"thread {i}")] * 2)

    at_once(report)
    log = job_queries.events_after(database, row.id, 0)
    assert [event.seq for event in log] == list(range(1, 2 + WORKERS * 10 + 1))


def test_one_of_many_requests_with_the_same_key_is_stored(database: Database) -> None:
    def submit(_: int) -> str:
        row = job_row(idempotency_key="key")
        try:
            jobs.add(database, row)
        except DuplicateKey as taken:
            return taken.job.id
        return row.id

    assert len(set(at_once(submit))) == 1
    assert job_queries.page(database, offset=0, limit=10)[1] == 1


def test_settling_writes_all_or_nothing(database: Database) -> None:
    taken, row = job_row(), job_row()
    jobs.add(database, taken)
    jobs.add(database, row)
    claim = jobs.claim(database, row.id, lease_s=60)
    assert claim is not None
    fresh, clash = job_row(), job_row(id=taken.id)
    with pytest.raises(IntegrityError):
        jobs.settle(database, claim, JobStatus.SUCCEEDED, rows=[fresh, clash])
    assert job_queries.get(database, fresh.id) is None
    after = job_queries.get(database, row.id)
    assert after is not None
    assert after.status == JobStatus.RUNNING


def test_a_reader_does_not_wait_for_a_writer(database: Database) -> None:
    row = job_row()
    jobs.add(database, row)
    with database.writing() as session:
        session.execute(text("UPDATE jobs SET title = 'changed'"))
        found = job_queries.get(database, row.id)
        assert found is not None
        assert found.title == "Train"


def test_a_page_is_newest_first_and_counts_everything(database: Database) -> None:
    rows = [job_row(created_at=float(i)) for i in range(7)]
    for row in rows:
        jobs.add(database, row)
    newest = [row.id for row in reversed(rows)]
    assert jobs.request_cancel(database, rows[3].id)
    found, total = job_queries.page(database, offset=2, limit=3)
    assert ([row.id for row in found], total) == (newest[2:5], 7)
    found, total = job_queries.page(database, statuses=[JobStatus.CANCELLED], offset=0, limit=3)
    assert ([row.id for row in found], total) == ([rows[3].id], 1)


def test_a_long_training_is_thinned_and_keeps_its_epochs_and_log(database: Database) -> None:
    row = job_row()
    jobs.add(database, row)
    claim = jobs.claim(database, row.id, lease_s=60)
    assert claim is not None
    # A slow training reports progress between any two steps; that takes numbers, too.
    far = ProgressEvent(done=1, total=2, phase="epoch 1")
    points_of_steps = (
        MetricsEvent(series="step", step=i, values={"loss": 1.0}) for i in range(1000)
    )
    steps = [event for point in points_of_steps for event in (point, far)]
    epochs = [MetricsEvent(series="epoch", step=i, values={"score": 0.5}) for i in range(10)]
    jobs.report(database, claim, [*steps, *epochs, LogEvent(text="done")])

    def kinds(points: int) -> Counter[str]:
        stored = job_queries.charts_and_log(database, row.id, points=points)
        assert [event.seq for event in stored] == sorted(event.seq for event in stored)
        return Counter(event.body.get("series", "log") for event in stored)

    assert kinds(2000) == {"step": 1000, "epoch": 10, "log": 1}
    thinned = kinds(100)
    assert 100 <= thinned["step"] <= 110
    assert (thinned["epoch"], thinned["log"]) == (10, 1)


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Callable[[str], Database]]:
    """A database as an older version left it, given the number of its last migration."""
    opened: list[Database] = []

    def at(revision: str) -> Database:
        database = Database(f"sqlite:///{tmp_path / 'old.sqlite3'}")
        config, engine = Config(), create_engine(database.url)
        config.set_main_option("script_location", str(Path(db.__file__).with_name("migrations")))
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        engine.dispose()
        opened.append(database)
        return database

    yield at
    for database in opened:
        database.close()


def insert(database: Database, table: str, **values: object) -> None:
    columns, places = ", ".join(values), ", ".join(f":{name}" for name in values)
    with database.writing() as session:
        session.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({places})"), values)


def insert_job(database: Database, id: str, **values: object) -> None:
    insert(
        database, "jobs",
        **{"id": id, "kind": "train", "status": "succeeded", "queue": "train", "title": "Old",
           "params": "{}", "created_at": 1.0, "attempt": 0, "fence": 0, "cancel_requested": 0,
           "last_event": 1, **values},
    )  # fmt: skip


def test_a_database_of_lab_0_2_keeps_its_jobs_and_their_events(
    old: Callable[[str], Database],
) -> None:
    database = old("0001")
    insert_job(database, "a")
    insert(database, "job_events", job_id="a", seq=1, type="log", at=1.0, body="{}")
    database.migrate()
    (row,), _ = job_queries.page(database, offset=0, limit=10)
    assert (row.id, row.title, row.parent_id) == ("a", "Old", None)
    assert (row.name, row.note, row.archived_at, row.deleted_at) == ("", "", None, None)
    assert len(job_queries.events_after(database, "a", 0)) == 1


def test_the_board_of_an_older_version_is_the_same(old: Callable[[str], Database]) -> None:
    """As if each evaluation had just ended."""
    database = old("0015")
    for job, gone in (("a", None), ("b", None), ("c", None), ("gone", 1.0)):
        insert_job(database, job, kind="evaluate", deleted_at=gone)
    for model, archived in (("m", None), ("n", None), ("put away", 1.0)):
        insert(database, "models", id=model, name=model, created_at=1.0, sha256="0", size_bytes=1,
               card="{}", archived_at=archived)  # fmt: skip
    figures = {"dataset_sha256": "0", "dataset_name": "D", "norm": "linf", "epsilon": 0.1,
               "clean": 1, "at": 1.0, "model_name": "M"}  # fmt: skip
    for job, position, model, more in (
        ("a", 0, "m", {"images": 10}),
        ("b", 0, "m", {"images": 20}),  # the most images
        ("c", 0, "m", {"images": 30, "light": "red"}),
        ("a", 1, "n", {"images": 10, "goal": "class"}),
        ("b", 1, "n", {"images": 10, "epsilon": 0.2}),
        ("c", 1, "put away", {"images": 10}),
        ("gone", 0, "n", {"images": 10}),
    ):
        facts = {"goal": "untargeted", **figures, **more}
        insert(database, "measurements", job_id=job, position=position, model_id=model, **facts)
    database.migrate()

    def standings() -> dict[tuple[str, int], int]:
        with database.reading() as session:
            rows = session.scalars(select(MeasurementRow)).all()
        return {(row.job_id, row.position): row.standing for row in rows}

    found = standings()
    assert found == {
        ("a", 0): 1, ("b", 0): 2, ("c", 0): 1, ("a", 1): 0, ("b", 1): 2, ("c", 1): 0,
        ("gone", 0): 0,
    }  # fmt: skip
    with database.writing() as session:
        session.execute(update(MeasurementRow).values(standing=1))
        measurements.note_standing(session)
    assert standings() == found


def test_lists_know_the_figures_of_what_older_versions_left(old: Callable[[str], Database]) -> None:
    database = old("0003")
    result = full_evaluation()
    summary = EvaluationSummary.of(result)
    trained = {"name": "Net", "dataset": "d" * 32, "recipe": "agkd_bml", "epochs": 7}
    insert_job(database, "a", params=json.dumps(trained))
    for kept, share in (("best", 0.5), ("last", 0.4)):
        card = {"kept": kept, "params": trained, "validation_clean": {"value": 0.9},
                "validation_robust": {"value": share}, "environment": {"seconds": 60.0},
                "dataset": {"name": "Pets", "sha256": "0" * 64}}  # fmt: skip
        insert(database, "models", id=kept, name=kept, job_id="a", created_at=1.0, sha256="0",
               size_bytes=1, card=json.dumps(card))  # fmt: skip
    insert_job(database, "e", kind="evaluate", finished_at=9.0, summary=summary.model_dump_json())
    insert_job(database, "f", kind="evaluate", summary='{"of": "another version"}')
    database.migrate()
    rows, _ = job_queries.page(database, offset=0, limit=10)
    found = {row.id: row for row in rows}
    training, evaluation = found["a"], found["e"]
    assert (training.dataset_id, training.recipe, training.epochs) == ("d" * 32, "agkd_bml", 7)
    assert (training.clean, training.robust) == (0.9, 0.5)
    with database.reading() as session:
        model = session.get_one(ModelRow, "last")
        assert (model.clean, model.robust, model.seconds) == (0.9, 0.4, 60.0)
        assert (model.dataset_name, model.recipe, model.epochs) == ("Pets", "agkd_bml", 7)
        stored = session.scalars(select(MeasurementRow).order_by(MeasurementRow.position)).all()
    # As a new evaluation of the same figures is written.
    written = measurements.of_evaluation("e", 9.0, summary)
    columns = set(MeasurementRow.__table__.columns.keys()) - {"standing"}
    as_dicts = [[{name: getattr(row, name) for name in columns} for row in rows]
                for rows in (stored, written)]  # fmt: skip
    assert as_dicts[0] == as_dicts[1]
    best = measurements.best_of(written)
    assert (evaluation.clean, evaluation.robust, evaluation.autoattack) == tuple(best.values())
    assert best["autoattack"] is not None
    assert found["f"].robust is None


def test_who_looks_all_the_time_sees_what_is_now_and_keeps_nobody_from_writing(
    database: Database,
) -> None:
    jobs.add(database, job_row(id="a" * 32))
    lookout, query = database.lookout(), select(JobRow.title).where(JobRow.id == "a" * 32)
    for title in ("one", "another"):
        with database.writing() as session:
            session.execute(update(JobRow).values(title=title))
        with lookout.looking() as connection:
            assert connection.scalar(query) == title
    lookout.close()


@pytest.mark.postgresql
def test_a_look_goes_there_and_back_once_and_a_broken_one_is_asked_again(
    postgresql: Cluster, tmp_path: Path
) -> None:
    with postgresql.migrated() as url, (tmp_path / "trace").open("w+") as trace:
        database = Database(url)
        lookout = database.lookout()
        with lookout.looking() as connection:
            driven: Any = connection.connection.driver_connection
        driven.pgconn.trace(trace.fileno())
        for _ in range(3):
            with lookout.looking() as connection:
                connection.scalar(text("SELECT 1"))
        driven.pgconn.untrace()
        trace.seek(0)
        assert trace.read().count("ReadyForQuery") == 3
        postgresql.end_connections(url)
        with pytest.raises(OperationalError), lookout.looking() as connection:
            connection.scalar(text("SELECT 1"))
        with lookout.looking() as connection:
            assert connection.scalar(text("SELECT 1")) == 1
        lookout.close()
        database.close()


@pytest.mark.postgresql
def test_a_server_that_takes_connections_and_says_nothing_is_given_up_soon() -> None:
    """However patient one is with locks: as with a host that is cut off."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        database = Database(f"postgresql://lab@127.0.0.1:{port}/lab", patience_s=300.0)
        begun = time.monotonic()
        assert not database.answers()
        assert time.monotonic() - begun < 120.0
        database.close()
