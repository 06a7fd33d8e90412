"""Where a browser signs in, by the lab's token or by an account, and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from app.admission.callers import caller_of
from app.admission.cookies import cookies_of
from app.admission.routes import ForEverybodyInside, Public
from app.admission.signing_in import (
    address_of,
    signed_in,
    signed_out,
    throttle_of,
    token_of,
    within_lab,
)
from app.deps import LabDep
from app.errors import TooMany, Unauthenticated
from app.services import accounts
from app.services.lab import Lab
from app.settings import Auth
from app.web.render import render, sign_in

router = APIRouter()
_outside = APIRouter(route_class=Public)
_inside = APIRouter(route_class=ForEverybodyInside)

Typed = Annotated[str, Form(max_length=2000)]


@_outside.get("/login")
def page(request: Request, then: Annotated[str, Query(max_length=2000)] = "/") -> Response:
    if caller_of(request) is not None:
        return RedirectResponse(within_lab(then), status_code=303)
    return render(request, sign_in(request, within_lab(then)))


@_outside.post("/login")
def enter(
    lab: LabDep,
    request: Request,
    token: Typed = "",
    name: Typed = "",
    password: Typed = "",
    then: Typed = "/",
) -> Response:
    if lab.settings.auth is Auth.OFF:
        return RedirectResponse(within_lab(then), status_code=303)
    try:
        value = _cookie(lab, request, token, name, password)
    except (Unauthenticated, TooMany) as error:
        said = f"{error.detail} {error.hint if isinstance(error, TooMany) else ''}"
        form = sign_in(request, within_lab(then), complaint=said.strip())
        answer = render(request, form, status=error.status)
        if error.retry_after_s is not None:
            answer.headers["Retry-After"] = str(error.retry_after_s)
        return answer
    return signed_in(request, value, then)


def _cookie(lab: Lab, request: Request, token: str, name: str, password: str) -> str:
    if lab.settings.auth is Auth.ACCOUNTS:
        return accounts.sign_in(lab, throttle_of(request), name, password, address_of(request))
    if not token_of(request).is_it(token.strip()):
        raise Unauthenticated("This token is not right.")
    return token_of(request).cookie()


@_inside.post("/logout")
def leave(lab: LabDep, request: Request) -> Response:
    for session in cookies_of(request) if lab.settings.auth is Auth.ACCOUNTS else ():
        accounts.sign_out(lab, session)
    return signed_out(request)


router.include_router(_outside)
router.include_router(_inside)
