"""A PostgreSQL of the tests' own, started where a test asks for one; and what runs on both.

Tests in the folders of `_ON_BOTH`, and those marked `both`, run on SQLite and on PostgreSQL where
they ask for `lab`, `database` or `fresh_url`; those marked `sqlite` or `postgresql` there
alone. With `LAB_SQL=postgresql` all others that ask for these run on PostgreSQL, and only there:

    LAB_SQL=postgresql python -m pytest tests/store tests/services tests/api

The server sorts text as people do, not by bytes, as most servers are set up.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from app.store.db import Database
from app.store.tables import Table
from tests.plugins import migrated, needs

_ON_BOTH = ("ablations", "services", "store")
SQLITE, POSTGRESQL = "sqlite", "postgresql"
_OWNER = "lab"
_UNSAFE_AND_FAST = (
    "fsync=off", "full_page_writes=off", "synchronous_commit=off", "autovacuum=off",
    "shared_buffers=16MB", "max_connections=200", "log_min_messages=fatal",
)  # fmt: skip


class Cluster:
    """A server that listens on a unix socket alone, with empty labs to use.

    To make a database takes a twentieth of a second, and a second where the machine is busy; so one
    is emptied and used again.
    """

    def __init__(self, socket: Path) -> None:
        self._socket, self._numbers = socket, itertools.count()
        self._admin = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        self._empty: list[str] = []
        self._say("CREATE DATABASE template_lab")
        database = Database(self.url("template_lab"))
        database.migrate()
        database.close()

    def url(self, name: str) -> str:
        return f"postgresql://{_OWNER}@/{name}?host={self._socket}"

    def _say(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(statement))

    @contextmanager
    def bare(self) -> Iterator[str]:
        """The URL of a new database without tables; it is gone afterwards."""
        name = f"test_{next(self._numbers)}"
        self._say(f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            yield self.url(name)
        finally:
            self._say(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def migrated(self) -> Iterator[str]:
        """The URL of a database with empty tables."""
        if self._empty:
            name = self._empty.pop()
        else:
            name = f"test_{next(self._numbers)}"
            self._say(f"CREATE DATABASE {name} TEMPLATE template_lab")
        yield self.url(name)
        self.end_connections(self.url(name))
        _clear(self.url(name))
        self._empty.append(name)

    def end_connections(self, url: str) -> None:
        """As a server does that is started again."""
        name = make_url(url).database
        ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        self._say(f"{ended} WHERE datname = '{name}'")

    def processes(self) -> list[int]:
        """Its own, the server's first."""
        server = int((self._socket / "data" / "postmaster.pid").read_text().split()[0])
        asked = ["ps", "-o", "pid=", "--ppid", str(server)]
        children = subprocess.run(asked, capture_output=True, text=True, check=False)
        return [server, *map(int, children.stdout.split())]

    def close(self) -> None:
        self._admin.dispose()


def _clear(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in reversed(Table.metadata.sorted_tables):
            connection.execute(table.delete())
        connection.execute(text("ALTER SEQUENCE audit_id_seq RESTART"))
    engine.dispose()


@contextmanager
def cluster(**settings: str) -> Iterator[Cluster]:
    """A new server. `settings`: more of its own."""
    found = needs.postgresql()
    assert found is not None
    # PostgreSQL does not run as root.
    user = _unprivileged() if os.geteuid() == 0 else None
    as_user: dict[str, Any] = {} if user is None else {"user": user, "extra_groups": []}
    with tempfile.TemporaryDirectory(prefix="lab-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if user is not None:
            shutil.chown(folder, user)
        made = [
            f"{found}/initdb", "-D", f"{folder}/data", "-U", _OWNER, "-A", "trust", "-E", "UTF8",
            "--no-sync", "--locale=C", "--locale-provider=icu", "--icu-locale=en-US",
        ]  # fmt: skip
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd=folder, **as_user)
        every = [*_UNSAFE_AND_FAST, *(f"{key}={value}" for key, value in settings.items())]
        options = [part for each in every for part in ("-c", each)]
        command = [f"{found}/postgres", "-D", f"{folder}/data", "-k", str(folder), "-h", ""]
        server = subprocess.Popen([*command, *options], cwd=folder, **as_user)
        try:
            _wait(folder, server)
            opened = Cluster(folder)
            yield opened
            opened.close()
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: it keeps nothing
            server.wait(20)


def _unprivileged() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _wait(folder: Path, server: subprocess.Popen[bytes]) -> None:
    """Its pid file says `ready` when it takes connections."""
    while server.poll() is None:
        file = folder / "data" / "postmaster.pid"
        if file.exists() and file.read_text().split()[-1:] == ["ready"]:
            return
        time.sleep(0.02)
    raise RuntimeError("PostgreSQL did not start")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    with cluster() as started:
        yield started


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "sql" not in metafunc.fixturenames:
        return
    marked = metafunc.definition.get_closest_marker("both") is not None
    on_both = marked or metafunc.definition.path.parent.name in _ON_BOTH
    chosen = os.environ.get("LAB_SQL")
    kinds = [chosen] if chosen else [SQLITE, POSTGRESQL] if on_both else []
    for only in (SQLITE, POSTGRESQL):
        if metafunc.definition.get_closest_marker(only) is not None:
            kinds = [only]
    if kinds:
        params = [pytest.param(kind, marks=_MARKS[kind]) for kind in kinds]
        metafunc.parametrize("sql", params, indirect=True)


_MARKS: dict[str, Any] = {SQLITE: (), POSTGRESQL: pytest.mark.postgresql}


@pytest.fixture
def sql(request: pytest.FixtureRequest) -> str:
    """The kind of database that the test runs on."""
    return str(getattr(request, "param", SQLITE))


@pytest.fixture
def fresh_url(
    sql: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], str]]:
    """Makes empty databases with their tables, each of its own; they are gone after the test."""
    if sql == SQLITE:
        yield lambda: migrated.lay_out(tmp_path_factory.mktemp("sqlite"))
        return
    server: Cluster = request.getfixturevalue("postgresql")

    def fresh() -> str:
        return opened.enter_context(server.migrated())

    with ExitStack() as opened:
        yield fresh


@pytest.fixture
def bare_url(sql: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if sql == SQLITE:
        yield f"sqlite:///{tmp_path / 'bare.sqlite3'}"
        return
    with request.getfixturevalue("postgresql").bare() as url:
        yield url


@pytest.fixture
def database_url(sql: str, request: pytest.FixtureRequest) -> str | None:
    """As the setting: None where the lab's own folder has it."""
    return None if sql == SQLITE else request.getfixturevalue("fresh_url")()
