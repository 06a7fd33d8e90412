"""Versions of the lab beside each other on one database: what migrations may do, and who works."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, Inspector, create_engine, inspect, text

from app.errors import WrongSchema
from app.run import checks
from app.services.lab import Lab
from app.services.upkeep import health
from app.store import db, schema
from app.store.db import Database
from app.store.schema import LATEST
from tests.plugins.postgresql import Cluster

_FOLDER = Path(schema.__file__).with_name("migrations")
_SHARED_SINCE = "0016"
"""The schema of 0.3.0, the first version whose labs may be on several machines."""
_NEXT = f"{int(LATEST) + 1:04d}"
_NEXT_HUNDRED = f"{int(LATEST[:2]) + 1:02d}00"


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"migration_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MIGRATIONS = {
    path.name[:4]: _module(path) for path in sorted((_FOLDER / "versions").glob("[0-9]*.py"))
}


def upgrade(url: str, revision: str) -> None:
    config, engine = Config(), create_engine(url)
    config.set_main_option("script_location", str(_FOLDER))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def taken(before: Inspector, after: Inspector) -> list[str]:
    """What code that knows the schema before could not do on the one after."""
    found = []
    for table in before.get_table_names():
        if not after.has_table(table):
            found.append(f"table {table} is gone")
            continue
        old = {column["name"]: column for column in before.get_columns(table)}
        new = {column["name"]: column for column in after.get_columns(table)}
        for name, column in old.items():
            if name not in new:
                found.append(f"{table}.{name} is gone")
                continue
            for what in ("type", "nullable", "default"):
                if str(column[what]) != str(new[name][what]):  # type: ignore[literal-required]
                    found.append(f"{table}.{name}: another {what}")
        found += [
            f"{table}.{name} has to be given" for name in new.keys() - old.keys()
            if not new[name]["nullable"] and new[name]["default"] is None
        ]  # fmt: skip
        found += [f"{table}: {rule}" for rule in _rules(after, table) - _rules(before, table)
                  if _names(rule) & old.keys()]  # fmt: skip
    return found


def _rules(of: Inspector, table: str) -> set[tuple[str, ...]]:
    """What rows must be like."""
    unique = [("unique", *each["column_names"]) for each in of.get_unique_constraints(table)]
    unique += [("unique", *map(str, each["column_names"])) for each in of.get_indexes(table)
               if each["unique"]]  # fmt: skip
    refers = [("refers", *each["constrained_columns"]) for each in of.get_foreign_keys(table)]
    checked = [("check", str(each["sqltext"])) for each in of.get_check_constraints(table)]
    key = ("key", *of.get_pk_constraint(table)["constrained_columns"])
    return {key, *unique, *refers, *checked}


def _names(rule: tuple[str, ...]) -> set[str]:
    """Of the columns that a rule is about."""
    return set(rule[1].replace("(", " ").replace(")", " ").split() if rule[0] == "check" else rule)


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.parametrize("number", [each for each in MIGRATIONS if each > "0012"])
def test_a_migration_takes_nothing_from_code_of_its_hundred(bare_url: str, number: str) -> None:
    before = MIGRATIONS[number].down_revision
    if before[:2] != number[:2]:
        return  # the lab is stopped for it
    if number > _SHARED_SINCE:
        said = getattr(MIGRATIONS[number], "BESIDE", "")
        assert len(said.split()) > 3, f"{number} does not say what older code does on it (BESIDE)"
    upgrade(bare_url, before)
    engine = create_engine(bare_url)
    old = _read(engine)
    upgrade(bare_url, number)
    assert taken(old, _read(engine)) == [], "it has to begin a new hundred (decision 51)"
    engine.dispose()


def _read(bind: Engine | Connection) -> Inspector:
    """As it is now, however the tables become."""
    found: Inspector = inspect(bind)
    for table in found.get_table_names():
        found.get_columns(table)
        _rules(found, table)
    return found


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("ALTER TABLE jobs ADD COLUMN x INTEGER", None),
        ("ALTER TABLE jobs ADD COLUMN x INTEGER NOT NULL DEFAULT 0", None),
        ("ALTER TABLE jobs ADD COLUMN x INTEGER UNIQUE", None),
        ("CREATE TABLE x (id INTEGER PRIMARY KEY)", None),
        ("CREATE INDEX x ON jobs (note)", None),
        ("ALTER TABLE jobs ADD COLUMN x INTEGER NOT NULL", "jobs.x has to be given"),
        ("ALTER TABLE jobs DROP COLUMN worker", "jobs.worker is gone"),
        ("ALTER TABLE jobs RENAME worker TO host", "jobs.worker is gone"),
        ("ALTER TABLE jobs ALTER COLUMN worker TYPE VARCHAR(9)", "jobs.worker: another type"),
        ("ALTER TABLE jobs ALTER COLUMN owner_id SET NOT NULL", "jobs.owner_id: another nullable"),
        ("ALTER TABLE jobs ALTER COLUMN note DROP DEFAULT", "jobs.note: another default"),
        ("ALTER TABLE jobs ADD UNIQUE (title)", "jobs: ('unique', 'title')"),
        ("CREATE UNIQUE INDEX x ON jobs (title, note)", "jobs: ('unique', 'title', 'note')"),
        ("ALTER TABLE jobs ADD CHECK (attempt < 9)", "jobs: ('check', 'attempt < 9')"),
        ("ALTER TABLE jobs ADD FOREIGN KEY (owner_id) REFERENCES users",
         "jobs: ('refers', 'owner_id')"),
        ("ALTER TABLE drains RENAME TO drained", "table drains is gone"),
    ],
)  # fmt: skip
def test_what_a_migration_takes_is_found(
    fresh_url: Callable[[], str], statement: str, found: str | None
) -> None:
    engine = create_engine(fresh_url())
    with engine.connect() as connection, connection.begin() as changes:
        old = _read(connection)
        connection.execute(text(statement))
        said = taken(old, _read(connection))
        changes.rollback()
    engine.dispose()
    assert [each for each in said if found is None or found not in each] == []
    assert bool(said) is (found is not None)


def at(database: Database, revision: str) -> None:
    """As though other code had migrated it."""
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :at"), {"at": revision})


@pytest.fixture
def migrated(database: Database) -> Iterator[Database]:
    yield database
    at(database, LATEST)


def test_code_works_on_a_later_schema_of_its_hundred(migrated: Database) -> None:
    at(migrated, _NEXT)
    migrated.migrate()
    assert migrated.misfit() is None


def test_code_says_what_is_newer_than_it_and_changes_nothing(migrated: Database) -> None:
    at(migrated, _NEXT_HUNDRED)
    with pytest.raises(WrongSchema, match=f"newer version of the lab .schema {_NEXT_HUNDRED};"):
        migrated.migrate()
    said = migrated.misfit()
    assert said is not None
    assert "Install that version here, too" in said


def test_code_that_brings_nothing_up_to_date_says_what_is_older(migrated: Database) -> None:
    at(migrated, "0001")
    said = migrated.misfit()
    assert said is not None
    assert f"older version of the lab (schema 0001; this one needs {LATEST})" in said


def test_a_web_that_runs_on_says_that_the_schema_is_not_its_own_any_more(lab: Lab) -> None:
    at(lab.database, _NEXT_HUNDRED)
    found = health(lab)
    at(lab.database, LATEST)
    assert not found.ok
    assert found.trouble is not None
    assert "newer version of the lab" in found.trouble


@pytest.fixture
def next_hundred(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """From now on the code has one more migration, which code of before could not work beside."""
    folder = tmp_path / "migrations"
    shutil.copytree(_FOLDER, folder)
    (folder / "versions" / f"{_NEXT_HUNDRED}_drop.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f'revision, down_revision = "{_NEXT_HUNDRED}", "{LATEST}"\n'
        'def upgrade():\n    op.drop_column("jobs", "worker")\n'
    )
    monkeypatch.setattr(schema, "_MIGRATIONS", folder)
    monkeypatch.setattr(schema, "LATEST", _NEXT_HUNDRED)
    return _NEXT_HUNDRED


def _has_worker(url: str) -> bool:
    engine = create_engine(url)
    found = {column["name"] for column in inspect(engine).get_columns("jobs")}
    engine.dispose()
    return "worker" in found


@pytest.mark.postgresql
def test_no_schema_is_changed_under_code_that_could_not_go_on(
    postgresql: Cluster, request: pytest.FixtureRequest
) -> None:
    with postgresql.bare() as url:
        older = Database(url)
        older.migrate()
        with older.looking() as connection:
            assert connection.scalar(text("SELECT 1")) == 1
        number = request.getfixturevalue("next_hundred")
        newer = Database(url)
        with pytest.raises(WrongSchema, match=r"of which \d connections to the database are open"):
            newer.migrate()
        with pytest.raises(checks.CannotStart, match="Stop all webs and workers"):
            checks.check_database(url)
        assert _has_worker(url)
        assert older.answers()
        older.close()
        newer.migrate()
        assert not _has_worker(url)
        assert newer.misfit() is None
        newer.close()
        assert number == schema.LATEST


@pytest.mark.postgresql
def test_a_migration_that_waits_for_a_table_lets_others_pass(
    postgresql: Cluster, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Somebody who copies the database reads a table for as long as that takes."""
    with postgresql.bare() as url:
        upgrade(url, LATEST)
        request.getfixturevalue("next_hundred")
        database, engine = Database(url), create_engine(url)
        waits, seen = database._alone, list[int]()

        def counted() -> Any:
            seen.append(1)
            if len(seen) == 2:
                reader.rollback()
            return waits()

        monkeypatch.setattr(database, "_alone", counted)
        monkeypatch.setattr(db, "_IN_THE_WAY_S", 1)
        monkeypatch.setattr(schema, "_older", lambda _: 0)
        with engine.connect() as reader:
            reader.execute(text("SELECT count(*) FROM jobs"))
            database.migrate()
        assert len(seen) == 2
        assert not _has_worker(url)
        engine.dispose()
        database.close()
