"""Who asks: a name, and what it may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from starlette.requests import HTTPConnection

from app.errors import Forbidden

_KEY = "lab.caller"


class Role(IntEnum):
    """What somebody may do; each role may also do what those before it may."""

    VIEWER = 1
    """Look at everything."""
    RUNNER = 2
    """Submit, upload and change."""
    ADMIN = 3
    """What concerns everybody."""


@dataclass(frozen=True)
class Caller:
    """Whoever a request comes from."""

    role: Role
    by_cookie: bool = False
    """Whether a browser signed in, and can sign out."""


OWNER = Caller(Role.ADMIN)
"""Who started the lab, and whoever has its token."""
SIGNED_IN = Caller(Role.ADMIN, by_cookie=True)
"""Whoever has had it, in a browser."""


def remember(connection: HTTPConnection, caller: Caller | None) -> None:
    """Let the routes know who asks."""
    connection.scope[_KEY] = caller


def caller_of(connection: HTTPConnection) -> Caller | None:
    """Who asks; None where nobody has said so, which only public routes take."""
    caller = connection.scope.get(_KEY)
    assert caller is None or isinstance(caller, Caller)
    return caller


def demand(connection: HTTPConnection, role: Role) -> None:
    """Raises Forbidden where whoever asks has less than the role."""
    caller = caller_of(connection)
    if caller is None or caller.role < role:
        raise Forbidden(
            f"This takes the role of {role.name.lower()}.", hint="Ask who runs the lab for it."
        )
