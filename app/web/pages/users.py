"""Accounts, for admins: who there is, and what each may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from app.admission.callers import user_of
from app.admission.routes import ForAdmins
from app.contracts.accounts import Account, Role, Shares
from app.deps import DatabaseDep, NamePath, shares_of
from app.errors import Conflict, InvalidInput
from app.services import accounts, passwords
from app.web.render import Context, render


@dataclass(frozen=True)
class Made:
    """A password that was just drawn, shown this once."""

    name: str
    password: str


@dataclass(frozen=True)
class UsersContext(Context):
    """All accounts, and a new one."""

    template: ClassVar[str] = "users.html"

    users: tuple[Account, ...]
    """By name."""
    roles: tuple[Role, ...]
    """To choose from."""
    made: Made | None
    """The password of an account that was just made."""
    typed: tuple[str, Role]
    """Name and role of the new one; outside text."""
    error: str
    """What is wrong with the name."""


@dataclass(frozen=True)
class UserContext(Context):
    """One account."""

    template: ClassVar[str] = "user.html"

    user: Account
    """Whose it is."""
    roles: tuple[Role, ...]
    """To choose from."""
    own: bool
    """Whether it is that of whoever asks, which others change."""
    made: Made | None
    """A password that was just drawn."""
    shares: Shares
    """What it uses of the lab."""


# Nothing is done in a lab that has no accounts.
router = APIRouter(prefix="/users", route_class=ForAdmins, dependencies=[Depends(user_of)])
_ROLES = tuple(Role)


@router.get("")
def all_users(database: DatabaseDep, request: Request) -> Response:
    return _page(database, request)


@router.post("")
def add(
    database: DatabaseDep,
    request: Request,
    name: Annotated[str, Form(max_length=200)] = "",
    role: Annotated[Role, Form()] = Role.RUNNER,
) -> Response:
    password = passwords.drawn()
    try:
        accounts.add(database, name, password, role)
    except (Conflict, InvalidInput) as error:
        return _page(database, request, typed=(name, role), error=error.detail)
    return _page(database, request, made=Made(name.strip().lower(), password))


def _page(
    database: DatabaseDep,
    request: Request,
    *,
    made: Made | None = None,
    typed: tuple[str, Role] = ("", Role.RUNNER),
    error: str = "",
) -> Response:
    context = UsersContext(tuple(accounts.known(database)), _ROLES, made, typed, error)
    return render(request, context, status=422 if error else 200)


@router.get("/{name}")
def one(database: DatabaseDep, request: Request, name: NamePath) -> Response:
    return _user(database, request, name)


def _user(
    database: DatabaseDep, request: Request, name: str, *, made: Made | None = None
) -> Response:
    user = accounts.one(database, name)
    own = user_of(request).id == user.id
    context = UserContext(user, _ROLES, own, made, shares_of(request, user.id))
    return render(request, context)


def _to(name: str) -> Response:
    return RedirectResponse(f"/users/{name}", status_code=303)


@router.post("/{name}/role")
def set_role(database: DatabaseDep, name: NamePath, role: Annotated[Role, Form()]) -> Response:
    accounts.change(database, name, role=role)
    return _to(name)


@router.post("/{name}/disable")
def disable(database: DatabaseDep, name: NamePath) -> Response:
    accounts.change(database, name, disabled=True)
    return _to(name)


@router.post("/{name}/enable")
def enable(database: DatabaseDep, name: NamePath) -> Response:
    accounts.change(database, name, disabled=False)
    return _to(name)


@router.post("/{name}/password")
def reset_password(database: DatabaseDep, request: Request, name: NamePath) -> Response:
    password = passwords.drawn()
    accounts.set_password(database, name, password)
    return _user(database, request, name, made=Made(name, password))


@router.post("/{name}/end-sessions")
def end_sessions(database: DatabaseDep, name: NamePath) -> Response:
    accounts.end_sessions(database, name)
    return _to(name)


@router.post("/{name}/revoke-tokens")
def revoke_tokens(database: DatabaseDep, name: NamePath) -> Response:
    accounts.revoke_tokens(database, name)
    return _to(name)
