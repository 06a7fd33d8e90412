"""The connection to SQL: short transactions, SQLite in WAL mode by default."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.orm import Session

from app.store import acting

_MIGRATIONS = Path(__file__).with_name("migrations")
LATEST = max(path.name[:4] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))
"""The revision of the schema that this code works with: its migrations are named by theirs."""


def _tune_sqlite(engine: Engine, patience_s: float) -> None:
    """WAL lets readers and one writer work at once; BEGIN is ours, so that writers queue up.

    A deferred transaction that reads and then writes fails at once when another wrote in between;
    `BEGIN IMMEDIATE` waits for its turn instead.
    """

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        # The patience first: another process may be switching a new file to WAL.
        patience = f"busy_timeout={round(1000 * patience_s)}"
        for pragma in (patience, "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        writes = connection.get_execution_options().get("lab_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """One process at a time makes an SQLite file what it has to be.

    The switch of a new file to WAL fails at once where another connection is open, however patient
    it is, and migrations create tables.
    """
    file = engine.url.database
    if engine.dialect.name != "sqlite" or file in (None, "", ":memory:"):
        yield
        return
    with Path(f"{file}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _revision(connection: Connection) -> str | None:
    """What the schema is at; None where there is none."""
    try:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return found
    finally:
        connection.rollback()


def _upgrade(connection: Connection) -> None:
    # It takes 10 MB, and nearly every process finds the schema as it should be.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


class Database:
    """Two kinds of transaction: `reading` and `writing`, each committed when its block ends."""

    def __init__(self, url: str, *, patience_s: float = 15.0) -> None:
        """`patience_s`: how long to wait for an SQLite file that another process has locked."""
        self.url = url
        self._engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        if self._engine.dialect.name == "sqlite":
            _tune_sqlite(self._engine, patience_s)
        self._writer = self._engine.execution_options(lab_writes=True)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        with Session(self._writer, expire_on_commit=False) as session:
            with session.begin():
                yield session
                record = acting.note(session)
            acting.keep(record)

    def migrate(self) -> None:
        """Bring the schema up to date; safe to run by several processes at once."""
        with _alone(self._engine), self._engine.connect() as connection:
            if _revision(connection) != LATEST:
                _upgrade(connection)

    def answers(self) -> bool:
        """Whether a trivial query succeeds."""
        try:
            with self.reading() as session:
                session.execute(text("SELECT 1"))
        except Exception:
            return False
        return True

    def writes(self) -> None:
        """Take and leave the turn to write. Raises what a write would (`app.errors.trouble`)."""
        with self.writing() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        self._engine.dispose()
