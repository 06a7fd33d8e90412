"""`python -m app users`: accounts, by who runs the lab."""

from __future__ import annotations

import argparse
import getpass
import sys
from typing import TYPE_CHECKING

from app.contracts.accounts import Role
from app.errors import InvalidInput, LabError
from app.settings import Settings
from app.store.files import keep_private

if TYPE_CHECKING:
    from app.store.db import Database


def parser() -> argparse.ArgumentParser:
    """What `users` can be asked to do."""
    parser = argparse.ArgumentParser(prog="python -m app users", description="Accounts of the lab.")
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("list", help="name and role of each, and who is disabled")
    for name, about in (
        ("add", "make an account; asks for its password, or reads a line of it"),
        ("password", "another password; ends all sessions and tokens"),
        ("role", "change what one may do"),
        ("disable", "end its sessions, and let nobody in by it, nor by its tokens"),
        ("enable", "let its user in again"),
        ("remove", "with its sessions and tokens; what it made stays"),
    ):
        command = commands.add_parser(name, help=about)
        command.add_argument("name")
        if name in ("add", "role"):
            roles = [role.value for role in Role]
            given = {"nargs": "?", "default": Role.RUNNER.value} if name == "add" else {}
            command.add_argument("role", choices=roles, **given)  # type: ignore[arg-type]
    return parser


def run(settings: Settings, asked: argparse.Namespace) -> int:
    """Do it; a lab may run meanwhile. Returns the exit code; 1 comes with a line that says why."""
    from app.store import audit  # the lab itself starts without
    from app.store.acting import Act, acting
    from app.store.db import Database

    keep_private(settings.data_dir)
    database = Database(settings.sql_url)
    act = Act("owner", "", f"users {asked.what}")
    try:
        database.migrate()
        with acting(act):
            _do(database, asked)
        if act.row is not None:
            audit.finish(database, act, 200)
    except LabError as error:
        print(error.detail, file=sys.stderr)
        return 1
    finally:
        database.close()
    return 0


def _do(database: Database, asked: argparse.Namespace) -> None:
    from app.services import accounts

    if asked.what == "list":
        for user in accounts.known(database):
            ends = "  disabled" if user.disabled_at else ""
            print(f"{user.name:<{accounts.LONGEST_NAME}}  {user.role}{ends}")
    elif asked.what == "add":
        accounts.add(database, asked.name, _password(), Role(asked.role))
    elif asked.what == "password":
        accounts.set_password(database, asked.name, _password())
    elif asked.what == "role":
        accounts.change(database, asked.name, role=Role(asked.role))
    elif asked.what in ("disable", "enable"):
        accounts.change(database, asked.name, disabled=asked.what == "disable")
    else:
        accounts.remove(database, asked.name)


def _password() -> str:
    """Typed twice, or a line of the standard input; never an argument, which everybody sees."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise InvalidInput("The two passwords differ.")
    return password
