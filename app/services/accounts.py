"""Accounts: sign in and out, users, tokens of programs.

Sessions and tokens are kept as SHA-256 digests: those are random, so that nothing about them can be
guessed.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from app.admission.throttle import Throttle
from app.contracts.accounts import Account, ApiToken, NewApiToken, Role, User
from app.errors import Conflict, InvalidInput, LabError, NotFound, TooMany, Unauthenticated
from app.services import passwords
from app.services.changing import utc_or_none
from app.services.lab import Lab
from app.store import accounts, acting
from app.store.db import Database
from app.store.tables import ApiTokenRow, UserRow

LONGEST_NAME = 40
NAME = r"[a-z0-9][a-z0-9._-]*"
"""A regular expression of what accounts are called."""
_MOST_TOKENS = 50
_WRONG = "The name or the password is not right."


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _user(row: UserRow) -> User:
    return User(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        created_at=_when(row.created_at),
        has_password=row.subject is None,
        generation=row.generation,
    )


# Browsers


def sign_in(lab: Lab, throttle: Throttle, name: str, password: str, address: str) -> str:
    """Begin a session; returns what its cookie holds.

    Raises Unauthenticated, and TooMany after too many failures of the name or from the address.
    """
    name = name.strip().lower()[:LONGEST_NAME]
    row = _check(lab, throttle, name, password, address, Unauthenticated(_WRONG))
    if (act := acting.current()) is not None:
        act.who = name
    session = begin_session(lab, row)
    if session is None:
        raise Unauthenticated(_WRONG)
    return session


def begin_session(lab: Lab, row: UserRow) -> str | None:
    """What its cookie holds; None where the user's password changed since the row was read."""
    session = secrets.token_urlsafe(32)
    until = time.time() + lab.settings.session_h * 3600
    begun = accounts.begin_session(lab.database, row.id, row.generation, _digest(session), until)
    return session if begun else None


def attempt(throttle: Throttle, name: str, address: str) -> None:
    """Count an attempt to sign in. Raises TooMany after too many that failed."""
    wait = throttle.take(name, address)
    if wait is not None:
        refused = TooMany(
            "Too many failed attempts to sign in.", hint=f"Try again in {wait} seconds."
        )
        refused.retry_after_s = wait
        raise refused


def _check(
    lab: Lab, throttle: Throttle, name: str, password: str, address: str, wrong: LabError
) -> UserRow:
    """The user of the name, whose password it is. Raises `wrong`, and TooMany."""
    attempt(throttle, name, address)
    row = accounts.named(lab.database, name)
    acting.concerns("unknown" if row is None else name)
    right = passwords.is_right(None if row is None else row.password, password)
    if row is None or not right or row.disabled_at is not None:
        raise wrong
    throttle.give_back(name, address)
    return row


def by_session(lab: Lab, cookies: Sequence[str]) -> tuple[str, User] | None:
    """The cookie among these that holds a session, and whose it is."""
    known = {_digest(cookie): cookie for cookie in cookies}
    found = accounts.by_session(lab.database, known) if known else None
    return None if found is None else (known[found[0]], _user(found[1]))


def sign_out(lab: Lab, session: str) -> None:
    accounts.end_session(lab.database, _digest(session))


def sign_out_everywhere(lab: Lab, user_id: str) -> None:
    accounts.end_sessions(lab.database, user_id)


# Programs


def by_token(lab: Lab, token: str) -> User | None:
    """Whose token it is."""
    row = accounts.by_token(lab.database, _digest(token))
    return None if row is None else _user(row)


def tokens(lab: Lab, user_id: str) -> list[ApiToken]:
    """A user's, newest first."""
    return [_token(row) for row in accounts.tokens(lab.database, user_id)]


def _token(row: ApiTokenRow) -> ApiToken:
    return ApiToken(id=row.id, name=row.name, created_at=_when(row.created_at))


def make_token(lab: Lab, user: User, name: str) -> NewApiToken:
    """Raises Conflict where the user has very many; Unauthenticated where the user's sessions or
    tokens ended since it was admitted."""
    if len(accounts.tokens(lab.database, user.id)) >= _MOST_TOKENS:
        raise Conflict(f"You have {_MOST_TOKENS} tokens.", hint="Revoke some first.")
    token = f"lab_{secrets.token_urlsafe(32)}"
    row = accounts.add_token(lab.database, user.id, user.generation, name, _digest(token))
    if row is None:
        raise Unauthenticated("Your sessions or tokens ended meanwhile.")
    return NewApiToken(**_token(row).model_dump(), token=token)


def revoke_token(lab: Lab, user_id: str, token_id: str) -> None:
    """Raises NotFound where the user has none such."""
    if not accounts.revoke_token(lab.database, user_id, token_id):
        raise NotFound("You have no such token.", hint="It may be revoked already.")


# Users


def known(database: Database) -> list[Account]:
    """All as admins see them, by name."""
    return [_account(*counted) for counted in accounts.counted(database)]


def one(database: Database, name: str) -> Account:
    """That of a name as admins see it. Raises NotFound."""
    found = accounts.counted(database, name)
    if not found:
        raise NotFound(f"There is no user {name}.")
    return _account(*found[0])


def _account(row: UserRow, sessions: int, tokens: int) -> Account:
    return Account(
        **_user(row).model_dump(),
        disabled_at=utc_or_none(row.disabled_at),
        sessions=sessions,
        tokens=tokens,
    )


def add(database: Database, name: str, password: str, role: Role) -> None:
    """Raises InvalidInput; Conflict where there is one of that name."""
    name = name.strip().lower()
    if not is_name(name):
        raise InvalidInput(
            f"A name has at most {LONGEST_NAME} of the characters a-z, 0-9, dot, _ and -.",
            field="name",
        )
    acting.concerns(name)
    if not accounts.add_user(database, name, passwords.hashed(password), role):
        raise Conflict(f"There is a user {name} already.")


def is_name(text: str) -> bool:
    """Whether an account can be called so."""
    return len(text) <= LONGEST_NAME and re.fullmatch(NAME, text) is not None


def _named(database: Database, name: str) -> UserRow:
    row = accounts.named(database, name.strip().lower())
    if row is None:
        raise NotFound(f"There is no user {name}.")
    acting.concerns(row.name)
    return row


def _anothers(database: Database, name: str) -> UserRow:
    """The row of a user that is not whoever asks."""
    row, act = _named(database, name), acting.current()
    if act is not None and act.user_id == row.id:
        raise Conflict("This is your own account.", hint="Another admin changes it.")
    return row


def _led(done: bool, name: str) -> None:
    """Raises Conflict where something was not done, since nobody would lead the lab."""
    if not done:
        raise Conflict(f"{name} is the last admin.", hint="Make another one first.")


def change(
    database: Database, name: str, *, role: Role | None = None, disabled: bool | None = None
) -> None:
    """From the next request on. Disabling ends the user's sessions; tokens open nothing until it is
    enabled again. Raises NotFound; Conflict where it is that of whoever asks, or of the last
    admin."""
    row = _anothers(database, name)
    _led(accounts.change_user(database, row.id, role=role, disabled=disabled), name)


def set_password(database: Database, name: str, password: str) -> None:
    """Ends the user's sessions and tokens. Raises NotFound, InvalidInput; Conflict where another
    house knows the password."""
    row = _named(database, name)
    if row.subject is not None:
        raise Conflict(f"{name} signs in elsewhere.", hint="There is the password to be changed.")
    accounts.set_password(database, row.id, passwords.hashed(password))


def end_sessions(database: Database, name: str) -> None:
    """Raises NotFound."""
    accounts.end_sessions(database, _named(database, name).id)


def revoke_tokens(database: Database, name: str) -> None:
    """All that the user's programs have. Raises NotFound."""
    accounts.revoke_tokens(database, _named(database, name).id)


def remove(database: Database, name: str) -> None:
    """With its sessions and tokens. Raises NotFound; Conflict of the last admin."""
    _led(accounts.remove_user(database, _named(database, name).id), name)


def change_password(lab: Lab, throttle: Throttle, user: User, old: str, new: str, by: str) -> None:
    """By the user, from the address `by`; ends all sessions and tokens.

    Raises InvalidInput, and TooMany after many wrong guesses.
    """
    _check(lab, throttle, user.name, old, by, InvalidInput("It is not right.", field="old"))
    set_password(lab.database, user.name, new)
