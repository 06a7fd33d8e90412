"""Accounts: sign in and out, users, tokens of programs.

Passwords are kept as argon2 hashes, sessions and tokens as SHA-256 digests: those are random, so
that nothing about them can be guessed.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from app.admission.throttle import Throttle
from app.contracts.accounts import ApiToken, NewApiToken, Role, User
from app.errors import (
    Conflict,
    InvalidInput,
    LabError,
    NotFound,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from app.services.lab import Lab
from app.store import accounts, acting
from app.store.db import Database
from app.store.tables import ApiTokenRow, UserRow

if TYPE_CHECKING:
    from argon2 import PasswordHasher

LONGEST_NAME, LONGEST_PASSWORD = 40, 200
_SHORTEST_PASSWORD = 10
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_MOST_TOKENS = 50
_WRONG = "The name or the password is not right."

_hashing = threading.BoundedSemaphore(2)
"""A hash takes 64 MB and a tenth of a second, on purpose."""
_WAITS_S = 5.0


@lru_cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher  # only where there are accounts

    return PasswordHasher()


@lru_cache
def _nobodys() -> str:
    """A hash to compare with where there is no such user: that takes as long."""
    return _hasher().hash(secrets.token_hex())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _user(row: UserRow) -> User:
    return User(id=row.id, name=row.name, role=Role(row.role), created_at=_when(row.created_at))


def _is_right(hashed: str | None, password: str) -> bool:
    """Whether the password is that of a hash; of none, after as long, it is not."""
    from argon2.exceptions import VerifyMismatchError

    if not _hashing.acquire(timeout=_WAITS_S):
        raise Unavailable("Many sign in at the moment.", hint="Try again.")
    try:
        return _hasher().verify(hashed or _nobodys(), password) and hashed is not None
    except VerifyMismatchError:
        return False
    finally:
        _hashing.release()


# Browsers


def sign_in(lab: Lab, throttle: Throttle, name: str, password: str, address: str) -> str:
    """Begin a session; returns what its cookie holds.

    Raises Unauthenticated, and TooMany after too many failures of the name or from the address.
    """
    name = name.strip().lower()[:LONGEST_NAME]
    row = _check(lab, throttle, name, password, address, Unauthenticated(_WRONG))
    if (act := acting.current()) is not None:
        act.who = name
    session = secrets.token_urlsafe(32)
    until = time.time() + lab.settings.session_h * 3600
    accounts.begin_session(lab.database, row.id, _digest(session), until)
    return session


def _check(
    lab: Lab, throttle: Throttle, name: str, password: str, address: str, wrong: LabError
) -> UserRow:
    """The user of the name, whose password it is. Raises `wrong`, and TooMany."""
    wait = throttle.take(name, address)
    if wait is not None:
        refused = TooMany(
            "Too many failed attempts to sign in.", hint=f"Try again in {wait} seconds."
        )
        refused.retry_after_s = wait
        raise refused
    row = accounts.named(lab.database, name)
    acting.concerns("unknown" if row is None else name)
    right = _is_right(None if row is None else row.password, password[:LONGEST_PASSWORD])
    if row is None or not right:
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


def make_token(lab: Lab, user_id: str, name: str) -> NewApiToken:
    """Raises Conflict where the user has very many."""
    if len(accounts.tokens(lab.database, user_id)) >= _MOST_TOKENS:
        raise Conflict(f"You have {_MOST_TOKENS} tokens.", hint="Revoke some first.")
    token = f"lab_{secrets.token_urlsafe(32)}"
    row = accounts.add_token(lab.database, user_id, name, _digest(token))
    return NewApiToken(**_token(row).model_dump(), token=token)


def revoke_token(lab: Lab, user_id: str, token_id: str) -> None:
    """Raises NotFound where the user has none such."""
    if not accounts.revoke_token(lab.database, user_id, token_id):
        raise NotFound("You have no such token.", hint="It may be revoked already.")


# Users


def users(database: Database) -> Sequence[User]:
    """All, by name."""
    return [_user(row) for row in accounts.users(database)]


def add(database: Database, name: str, password: str, role: Role) -> None:
    """Raises InvalidInput; Conflict where there is one of that name."""
    name = name.strip().lower()
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise InvalidInput(
            f"A name has at most {LONGEST_NAME} of the characters a-z, 0-9, dot, _ and -.",
            field="name",
        )
    if not accounts.add_user(database, name, _hashed(password), role):
        raise Conflict(f"There is a user {name} already.")


def _hashed(password: str) -> str:
    if not _SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InvalidInput(
            f"A password has {_SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters.",
            field="password",
        )
    return _hasher().hash(password)


def _named(database: Database, name: str) -> UserRow:
    row = accounts.named(database, name.strip().lower())
    if row is None:
        raise NotFound(f"There is no user {name}.")
    return row


def set_role(database: Database, name: str, role: Role) -> None:
    """From the next request on. Raises NotFound."""
    accounts.set_role(database, _named(database, name).id, role)


def set_password(database: Database, name: str, password: str) -> None:
    """Ends the user's sessions and tokens. Raises NotFound, InvalidInput."""
    row = _named(database, name)
    accounts.set_password(database, row.id, _hashed(password))


def remove(database: Database, name: str) -> None:
    """With its sessions and tokens. Raises NotFound."""
    accounts.remove_user(database, _named(database, name).id)


def change_password(lab: Lab, throttle: Throttle, user: User, old: str, new: str, by: str) -> None:
    """By the user, from the address `by`; ends all sessions and tokens.

    Raises InvalidInput, and TooMany after many wrong guesses.
    """
    _check(lab, throttle, user.name, old, by, InvalidInput("It is not right.", field="old"))
    set_password(lab.database, user.name, new)
