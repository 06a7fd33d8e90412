"""The connection to SQL, and all in which SQLite and PostgreSQL differ.

SQLite in WAL mode is the database of one machine: readers and one writer at a time. PostgreSQL is
that of several: writers do not take turns there, so each transaction holds under READ COMMITTED.
What it read before it wrote, it read of rows that it holds, or it asks again in the UPDATE.
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, create_engine, event, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.errors import WrongSchema
from app.store import acting, schema

_log = logging.getLogger(__name__)
_LAB = 0x6C6162
"""The lab's own among the advisory locks of a PostgreSQL database."""
_SILENT_S = 25
"""After so long without an answer to TCP either side takes the other for gone: a machine that lost
its power must not hold a lock for the two hours that are usual."""
_CONNECT_S = 5
"""A host that is cut off refuses nothing; and the longer one waits, the more rarely the system asks
again, so that it is found to be back late."""


_IN_THE_WAY_S, _TRIES = 2, 75
"""For so long a migration keeps others from a table that it waits for, and leaves it to them; so
often, five minutes in all."""
_LOCK_NOT_AVAILABLE = "55P03"


class Turn(IntEnum):
    """What one transaction, or one process, does at a time. The numbers are locks of PostgreSQL:
    processes of several versions agree on them."""

    MIGRATE = 1
    KEEP_HOUSE = 2
    SUBMIT = 3
    REGISTER = 4
    STORE = 5

    @property
    def key(self) -> tuple[int, int]:
        return _LAB, int(self)


def _sqlite(url: str, patience_s: float) -> Engine:
    """WAL lets readers and one writer work at once; BEGIN is ours, so that writers queue up.

    A deferred transaction that reads and then writes fails at once when another wrote in between;
    `BEGIN IMMEDIATE` waits for its turn instead.
    """
    engine = create_engine(url)

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

    return engine


def _postgresql(url: str, patience_s: float) -> Engine:
    """Locks are waited for as patiently as SQLite's. A process that was stopped within a
    transaction, or whose machine is gone, loses its locks."""
    told = {
        "lock_timeout": f"{round(1000 * patience_s)}",
        "idle_in_transaction_session_timeout": f"{1000 * _SILENT_S}",
        "work_mem": "16MB",  # lists of a hundred thousand are sorted there, and not on the disk
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": f"{1000 * _SILENT_S}",
    }
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_timeout=patience_s,
        connect_args={
            "application_name": schema.called(),
            # A server takes a moment for that. libpq knows whole seconds.
            "connect_timeout": min(_CONNECT_S, max(2, round(patience_s / 2))),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 1000 * _SILENT_S,
            "options": " ".join(f"-c {name}={value}" for name, value in told.items()),
        },
    )
    event.listen(engine, "connect", _take_any_text)
    return engine


def _take_any_text(connection: Any, _record: Any) -> None:
    """PostgreSQL has no NUL in its texts, and refuses a question that has one: whoever looks for
    what cannot be there finds nothing, as in SQLite."""
    from psycopg.types.string import StrDumperUnknown

    class WithoutNul(StrDumperUnknown):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))

    connection.adapters.register_dumper(str, WithoutNul)


@contextmanager
def _alone_on_sqlite(engine: Engine) -> Iterator[Connection]:
    """One process at a time makes an SQLite file what it has to be.

    The switch of a new file to WAL fails at once where another connection is open, however patient
    it is, and migrations create tables.
    """
    file = engine.url.database
    if file in (None, "", ":memory:"):
        with engine.connect() as connection:
            yield connection
        return
    with Path(f"{file}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with engine.connect() as connection:
            yield connection


@contextmanager
def _alone_on_postgresql(engine: Engine) -> Iterator[Connection]:
    """The same; all that is done on the connection is one transaction, which gives up where others
    hold a table for long."""
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = 0"))  # however long the others take
        connection.execute(select(func.pg_advisory_xact_lock(*Turn.MIGRATE.key)))
        # Whoever waits for a table keeps all from it who come later.
        connection.execute(text(f"SET LOCAL lock_timeout = {1000 * _IN_THE_WAY_S}"))
        yield connection


class Database:
    """Two kinds of transaction: `reading` and `writing`, each committed when its block ends; and
    `looking`, which is none."""

    def __init__(self, url: str, *, patience_s: float = 15.0) -> None:
        """`patience_s`: how long to wait for what another process has locked; for a connection half
        of it at most."""
        self.url = url
        self._is_sqlite = url.startswith("sqlite")
        self._engine = (_sqlite if self._is_sqlite else _postgresql)(url, patience_s)
        self._writer = self._engine.execution_options(lab_writes=True)
        self._reader = self._looker = self._engine
        if not self._is_sqlite:  # where every transaction reads one moment
            self._looker = self._engine.execution_options(isolation_level="AUTOCOMMIT")
            self._reader = self._engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """All that is read inside is of one moment."""
        with Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def looking(self) -> Iterator[Connection]:
        """For one query that is asked all the time: with no transaction around it, it takes half of
        the way there and back."""
        with self._looker.connect() as connection:
            yield connection

    def lookout(self) -> Lookout:
        """For one thread that asks so all the time."""
        return Lookout(self._looker)

    @contextmanager
    def writing(self, turn: Turn | None = None) -> Iterator[Session]:
        """`turn`: what no other transaction does meanwhile."""
        with Session(self._writer, expire_on_commit=False) as session:
            with session.begin():
                if turn is not None and not self._is_sqlite:
                    session.execute(select(func.pg_advisory_xact_lock(*turn.key)))
                yield session
                record = acting.note(session)
            acting.keep(record)

    def migrate(self) -> None:
        """Bring the schema up to date, beside whatever the lab does; safe to run by several
        processes at once. A later one that this code can work on stays as it is.

        Raises WrongSchema where it cannot, or where others could not on what would come.
        """
        for left in reversed(range(_TRIES)):
            try:
                with self._alone() as connection:
                    if schema.is_old(found := schema.revision(self._engine)):
                        schema.upgrade(connection, found)
                    elif (why := schema.misfit(found)) is not None:
                        raise WrongSchema(why)
                return
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE or not left:
                    raise
            _log.warning("The schema waits for a table that others hold.")
            time.sleep(_IN_THE_WAY_S)

    def misfit(self) -> str | None:
        """Why this code cannot work on the schema that a web has made, in words; None where it
        can."""
        with self.looking() as connection:
            return schema.misfit(connection.scalar(schema.REVISION))

    def _alone(self) -> AbstractContextManager[Connection]:
        return (_alone_on_sqlite if self._is_sqlite else _alone_on_postgresql)(self._engine)

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
            session.execute(text("SELECT 1" if self._is_sqlite else "SELECT pg_current_xact_id()"))

    def duty(self, turn: Turn) -> Duty:
        """What one process of the lab does, of those that could."""
        return Duty(None if self._is_sqlite else self._engine, turn)

    def close(self) -> None:
        self._engine.dispose()


class Looks(Protocol):
    """Where one query may be asked without a transaction around it."""

    def looking(self) -> AbstractContextManager[Connection]: ...


class Lookout:
    """Keeps its connection between two looks, so that each goes there and back once. One that broke
    is replaced by the look after that."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    @contextmanager
    def looking(self) -> Iterator[Connection]:
        if self._connection is None:
            self._connection = self._engine.connect()
        try:
            with self._connection.begin():  # SQLite's log would grow for a look that never ends
                yield self._connection
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Duty:
    """Held by one process until that ends, or loses the database. SQLite's is held by whoever asks:
    its lab has one web process.

    Not by one alone at every moment: who lost the database learns of it later than who takes over.
    So what is done meanwhile has to hold when it is done twice.
    """

    def __init__(self, engine: Engine | None, turn: Turn) -> None:
        self._engine, self._turn = engine, turn
        self._connection: Connection | None = None

    def is_held(self) -> bool:
        """Whether it is this process's now; takes it where nobody has it. Raises what a query does
        where the database does not answer."""
        if self._engine is None:
            return True
        if self._connection is None:
            return self._take(self._engine)
        try:
            self._connection.execute(text("SELECT 1"))
        except Exception:
            self.leave()
            raise
        return True

    def _take(self, engine: Engine) -> bool:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            free = connection.scalar(select(func.pg_try_advisory_lock(*self._turn.key)))
        except BaseException:
            connection.close()
            raise
        if free:
            self._connection = connection
        else:
            connection.close()
        return bool(free)

    def leave(self) -> None:
        """Let another process have it."""
        if self._connection is not None:
            with suppress(Exception):  # at once, where the database can be told
                self._connection.execute(select(func.pg_advisory_unlock_all()))
            self._connection.invalidate()  # else the end of the connection tells it
            self._connection.close()
            self._connection = None
