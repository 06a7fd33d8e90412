"""Accounts, for admins: who there is, what each may do, and whether they may come in."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, StrictBool

from app.admission.callers import user_of
from app.admission.routes import ForAdmins
from app.contracts.accounts import Account, Role
from app.deps import DatabaseDep, NamePath
from app.services import accounts

# Nothing is done in a lab that has no accounts.
router = APIRouter(
    prefix="/users", tags=["users"], route_class=ForAdmins, dependencies=[Depends(user_of)]
)


class AccountChange(BaseModel):
    """What is to be different; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    role: Role | None = None
    disabled: StrictBool | None = None
    """Whether nobody comes in by it; its sessions end."""


@router.get("")
def all_users(database: DatabaseDep) -> list[Account]:
    """All accounts, by name. 404 where the lab has none."""
    return accounts.known(database)


@router.get("/{name}")
def one(database: DatabaseDep, name: NamePath) -> Account:
    """One account."""
    return accounts.one(database, name)


@router.patch("/{name}")
def change(database: DatabaseDep, name: NamePath, changes: AccountChange) -> Account:
    """Another role, from the next request on, or whether it is disabled. 409 of the caller's own
    account and of the last admin."""
    accounts.change(database, name, role=changes.role, disabled=changes.disabled)
    return accounts.one(database, name)
