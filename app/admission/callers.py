"""Who asks: a name, and what it may do."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from app.contracts.accounts import Role, User
from app.errors import Forbidden, NotFound

_KEY = "lab.caller"


@dataclass(frozen=True)
class Caller:
    """Whoever a request comes from."""

    role: Role
    user: User | None = None
    """Whose account it is; None of the owner."""
    form_key: str = field(default="", repr=False)
    """What the forms of a browser that has a cookie bring along; empty of all other callers."""

    @property
    def by_cookie(self) -> bool:
        """Whether a browser signed in, and can sign out."""
        return bool(self.form_key)


OWNER = Caller(Role.ADMIN)
"""Who started the lab, and whoever has its token."""


def remember(connection: HTTPConnection, caller: Caller | None) -> None:
    """Let the routes know who asks."""
    connection.scope[_KEY] = caller


def caller_of(connection: HTTPConnection) -> Caller | None:
    """Who asks; None where nobody has said so, which only public routes take."""
    caller = connection.scope.get(_KEY)
    assert caller is None or isinstance(caller, Caller)
    return caller


def demand(connection: HTTPConnection, role: Role) -> Caller:
    """Who asks. Raises Forbidden where that is less than the role."""
    caller = caller_of(connection)
    if caller is None or not caller.role.covers(role):
        raise Forbidden(f"This takes the role {role}.", hint="Ask who runs the lab for it.")
    return caller


def user_of(connection: HTTPConnection) -> User:
    """Whose account asks. Raises NotFound where the lab has no accounts."""
    caller = caller_of(connection)
    if caller is None or caller.user is None:
        raise NotFound("This lab has no accounts.", hint="LAB_AUTH=accounts lets it have some.")
    return caller.user
