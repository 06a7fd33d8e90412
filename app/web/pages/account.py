"""One's own account: tokens of programs, the password, and the way out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response

from app.admission.callers import user_of
from app.admission.routes import ForEverybodyInside
from app.admission.signing_in import address_of, signed_out, throttle_of
from app.contracts.accounts import ApiToken, NewApiToken, Shares, User
from app.contracts.complaints import message_of
from app.contracts.params import Name
from app.deps import IdPath, LabDep, shares_of
from app.errors import InvalidInput
from app.services import accounts
from app.services.lab import Lab
from app.web.render import Context, render


@dataclass(frozen=True)
class AccountContext(Context):
    """The account of whoever asks."""

    template: ClassVar[str] = "account.html"

    user: User
    """Whose it is."""
    tokens: tuple[ApiToken, ...]
    """Those of its programs, newest first."""
    made: NewApiToken | None
    """One that was just made, shown this once."""
    messages: dict[str, str]
    """What is wrong with a field."""
    token_name: str
    """What was typed for one that could not be made."""
    shares: Shares
    """What it uses of the lab."""


router = APIRouter(prefix="/account", route_class=ForEverybodyInside)
Typed = Annotated[str, Form(max_length=1000)]
_NAME = TypeAdapter[str](Name)


@router.get("")
def page(lab: LabDep, request: Request) -> Response:
    return _page(lab, request)


@router.post("/tokens")
def make_token(lab: LabDep, request: Request, name: Typed = "") -> Response:
    try:
        name = _NAME.validate_python(name)
    except ValidationError as error:
        said = {"name": message_of(error.errors()[0])}
        return _page(lab, request, messages=said, token_name=name)
    return _page(lab, request, made=accounts.make_token(lab, user_of(request), name))


@router.post("/tokens/{token_id}/revoke")
def revoke_token(lab: LabDep, request: Request, token_id: IdPath) -> Response:
    accounts.revoke_token(lab, user_of(request).id, token_id)
    return RedirectResponse("/account", status_code=303)


@router.post("/password")
def change_password(lab: LabDep, request: Request, old: Typed = "", new: Typed = "") -> Response:
    user = user_of(request)
    try:
        accounts.change_password(lab, throttle_of(request), user, old, new, address_of(request))
    except InvalidInput as error:
        name = "old" if error.field == "old" else "new"
        return _page(lab, request, messages={name: error.detail})
    return signed_out(request)


@router.post("/sign-out-everywhere")
def sign_out_everywhere(lab: LabDep, request: Request) -> Response:
    accounts.sign_out_everywhere(lab, user_of(request).id)
    return signed_out(request)


def _page(
    lab: Lab,
    request: Request,
    *,
    made: NewApiToken | None = None,
    messages: dict[str, str] | None = None,
    token_name: str = "",
) -> Response:
    user = user_of(request)
    tokens = tuple(accounts.tokens(lab, user.id))
    context = AccountContext(
        user=user,
        tokens=tokens,
        made=made,
        messages=messages or {},
        token_name=token_name,
        shares=shares_of(request, user.id),
    )
    return render(request, context, status=422 if messages else 200)
