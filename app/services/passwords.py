"""Passwords: kept as argon2 hashes, a few compared at a time."""

from __future__ import annotations

import secrets
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from app.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from argon2 import PasswordHasher

LONGEST = 200
_SHORTEST = 10
_hashing = threading.BoundedSemaphore(2)
"""A hash takes 64 MB and a tenth of a second, on purpose."""
_WAITS_S = 5.0


@lru_cache
def hasher() -> PasswordHasher:
    from argon2 import PasswordHasher  # only where there are accounts

    return PasswordHasher()


@lru_cache
def nobodys() -> str:
    """A hash to compare with where there is no such user: that takes as long."""
    return hasher().hash(secrets.token_hex())


def is_right(hashed: str | None, password: str) -> bool:
    """Whether the password is that of a hash; of none, after as long, it is not."""
    from argon2.exceptions import VerifyMismatchError

    if not _hashing.acquire(timeout=_WAITS_S):
        raise Unavailable("Many sign in at the moment.", hint="Try again.")
    try:
        return hasher().verify(hashed or nobodys(), password[:LONGEST]) and bool(hashed)
    except VerifyMismatchError:
        return False
    finally:
        _hashing.release()


def hashed(password: str) -> str:
    """What is kept of it. Raises InvalidInput."""
    if not _SHORTEST <= len(password) <= LONGEST:
        raise InvalidInput(f"A password has {_SHORTEST} to {LONGEST} characters.", field="password")
    return hasher().hash(password)


def drawn() -> str:
    """One that nobody guesses, to be shown once."""
    return secrets.token_urlsafe(12)
