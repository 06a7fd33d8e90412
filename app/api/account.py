"""The caller's own account, and the tokens of its programs."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from app.admission.callers import user_of
from app.admission.routes import ForEverybodyInside
from app.contracts.accounts import ApiToken, NewApiToken, Shares, User
from app.contracts.params import Name
from app.deps import IdPath, LabDep, shares_of
from app.services import accounts

router = APIRouter(prefix="/account", tags=["account"], route_class=ForEverybodyInside)


class TokenRequest(BaseModel):
    """A new token."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    """What it is for."""


@router.get("")
def account(request: Request) -> User:
    """Who asks. 404 where the lab has no accounts."""
    return user_of(request)


@router.get("/usage")
def usage(request: Request) -> Shares:
    """What the caller uses of the lab, and how much that may be."""
    return shares_of(request, user_of(request).id)


@router.get("/tokens")
def tokens(lab: LabDep, request: Request) -> list[ApiToken]:
    """The tokens of the caller's programs, newest first."""
    return accounts.tokens(lab, user_of(request).id)


@router.post("/tokens", status_code=201)
def make_token(lab: LabDep, request: Request, body: TokenRequest) -> NewApiToken:
    """A new token for `Authorization: Bearer …`. It is shown this once."""
    return accounts.make_token(lab, user_of(request), body.name)


@router.delete("/tokens/{token_id}", status_code=204)
def revoke_token(lab: LabDep, request: Request, token_id: IdPath) -> None:
    """It opens nothing any more, from the next request on."""
    accounts.revoke_token(lab, user_of(request).id, token_id)
