"""Accounts, for admins: who there is, and what each may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from app.admission.callers import user_of
from app.admission.routes import ForAdmins
from app.contracts.accounts import Account, Role, Shares
from app.deps import LabDep, shares_of
from app.errors import Conflict, InvalidInput
from app.services import accounts, passwords
from app.services.lab import Lab
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
    own: bool
    """Whether it is that of whoever asks, which others change."""
    made: Made | None
    """A password that was just drawn."""
    shares: Shares
    """What it uses of the lab."""


router = APIRouter(prefix="/users", route_class=ForAdmins)
NamePath = Annotated[str, Path(max_length=accounts.LONGEST_NAME)]
_ROLES = tuple(Role)


@router.get("")
def all_users(lab: LabDep, request: Request) -> Response:
    return _page(lab, request)


@router.post("")
def add(
    lab: LabDep,
    request: Request,
    name: Annotated[str, Form(max_length=200)] = "",
    role: Annotated[Role, Form()] = Role.RUNNER,
) -> Response:
    password = passwords.drawn()
    try:
        accounts.add(lab.database, name, password, role)
    except (Conflict, InvalidInput) as error:
        return _page(lab, request, typed=(name, role), error=error.detail)
    return _page(lab, request, made=Made(name.strip().lower(), password))


def _page(
    lab: Lab,
    request: Request,
    *,
    made: Made | None = None,
    typed: tuple[str, Role] = ("", Role.RUNNER),
    error: str = "",
) -> Response:
    user_of(request)  # where there are accounts
    context = UsersContext(tuple(accounts.known(lab.database)), _ROLES, made, typed, error)
    return render(request, context, status=422 if error else 200)


@router.get("/{name}")
def one(lab: LabDep, request: Request, name: NamePath) -> Response:
    return _user(lab, request, name)


def _user(lab: Lab, request: Request, name: str, *, made: Made | None = None) -> Response:
    (user,) = accounts.known(lab.database, name)
    own = user_of(request).id == user.id
    context = UserContext(user, _ROLES, own, made, shares_of(request, user.id))
    return render(request, context)


def _to(name: str) -> Response:
    return RedirectResponse(f"/users/{name}", status_code=303)


@router.post("/{name}/role")
def set_role(lab: LabDep, name: NamePath, role: Annotated[Role, Form()]) -> Response:
    accounts.set_role(lab.database, name, role)
    return _to(name)


@router.post("/{name}/disable")
def disable(lab: LabDep, name: NamePath) -> Response:
    accounts.set_disabled(lab.database, name, True)
    return _to(name)


@router.post("/{name}/enable")
def enable(lab: LabDep, name: NamePath) -> Response:
    accounts.set_disabled(lab.database, name, False)
    return _to(name)


@router.post("/{name}/password")
def reset_password(lab: LabDep, request: Request, name: NamePath) -> Response:
    password = passwords.drawn()
    accounts.set_password(lab.database, name, password)
    return _user(lab, request, name, made=Made(name, password))


@router.post("/{name}/end-sessions")
def end_sessions(lab: LabDep, name: NamePath) -> Response:
    accounts.end_sessions(lab.database, name)
    return _to(name)


@router.post("/{name}/revoke-tokens")
def revoke_tokens(lab: LabDep, name: NamePath) -> Response:
    accounts.revoke_tokens(lab.database, name)
    return _to(name)
