"""Who asks: a name, and what it may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from app.contracts.accounts import Role, User
from app.errors import Forbidden, NotFound

_KEY = "lab.caller"
_AGAIN = "lab.caller.again"


@dataclass(frozen=True)
class Caller:
    """Whoever a request comes from."""

    role: Role
    user: User | None = None
    """Whose account it is; None of the owner."""
    form_key: str = field(default="", repr=False)
    """What the forms of a browser that has a cookie bring along; empty of all other callers."""

    @property
    def account(self) -> str:
        """The id of its account; empty of the owner."""
        return "" if self.user is None else self.user.id

    @property
    def by_cookie(self) -> bool:
        """Whether a browser signed in, and can sign out."""
        return bool(self.form_key)


OWNER = Caller(Role.ADMIN)
"""Who started the lab, and whoever has its token."""


def remember(
    connection: HTTPConnection,
    caller: Caller | None,
    again: Callable[[], Awaitable[Caller | None]],
) -> None:
    """Let the routes know who asks. `again`: who that is later, when a session may be over."""
    connection.scope[_KEY], connection.scope[_AGAIN] = caller, again


async def is_still_inside(connection: HTTPConnection) -> bool:
    """Whether whoever asked would still be let in: for answers that go on for long."""
    return await connection.scope[_AGAIN]() is not None


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
