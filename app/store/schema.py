"""The schema: what a database is at, what this code needs, and whether the two fit.

Revisions are numbers of four digits. A migration within a hundred only adds, so code works on every
later schema of its hundred, and versions may run beside each other. One that takes something from
older code begins a new hundred, and the lab is stopped for it (decision 51).
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from app.errors import WrongSchema

_MIGRATIONS = Path(__file__).with_name("migrations")
LATEST = max(path.name[:4] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))
"""The revision that this code works with: its migrations are named by theirs."""
REVISION = text("SELECT version_num FROM alembic_version")
"""What a schema is at, where there is one."""
_NAME = "agkd-bml-lab"


def called() -> str:
    """What processes with this code call themselves in a list of connections."""
    return f"{_NAME} {LATEST}"


def revision(engine: Engine) -> str | None:
    """What the schema is at; None where there is none."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.scalar(REVISION)
        return found


def is_old(found: str | None) -> bool:
    """Whether migrations are due."""
    return found is None or found < LATEST


def misfit(found: str | None) -> str | None:
    """Why this code cannot work on a schema, in words; None where it can."""
    if is_old(found):
        return (
            f"The database is of an older version of the lab (schema {found or 'none'}; this one "
            f"needs {LATEST}). Start a web of this version: it brings the schema up to date."
        )
    if not _fits(found, LATEST):
        return (
            f"The database is of a newer version of the lab (schema {found}; this one knows "
            f"{LATEST}). Install that version here, too."
        )
    return None


def _fits(one: str | None, other: str) -> bool:
    """Whether both are of one hundred."""
    return one is not None and one[:2] == other[:2]


def upgrade(connection: Connection, found: str | None) -> None:
    """Do the migrations that are due. Raises WrongSchema while processes are there whose code could
    not work on what comes."""
    if found is not None and not _fits(found, LATEST) and (older := _older(connection)):
        raise WrongSchema(
            "This version of the lab cannot run beside the one before, of which "
            f"{older} connections to the database are open. Stop all webs and workers, and then "
            "start a web of this version."
        )
    # It takes 10 MB, and nearly every process finds the schema as it should be.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _older(connection: Connection) -> int:
    """How many connections of others, to this database, are of code of another hundred."""
    if connection.dialect.name == "sqlite":  # one machine's: its lab is one supervisor's
        return 0
    asked = (
        "SELECT application_name FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    names = [name.split() for name in connection.scalars(text(asked)) if name]
    return sum(name[0] == _NAME and not _fits(name[-1], LATEST) for name in names)
