"""Where a browser shows the lab's token, and where it signs out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from app.access.callers import caller_of
from app.access.routes import Public
from app.access.signing_in import WRONG, signed_in, signed_out, token_of, within_lab
from app.web.render import render, sign_in

router = APIRouter(route_class=Public)

_LONGEST = 2000


@router.get("/login")
def page(request: Request, then: Annotated[str, Query(max_length=_LONGEST)] = "/") -> Response:
    if caller_of(request) is not None:
        return RedirectResponse(within_lab(then), status_code=303)
    return render(request, sign_in(request, within_lab(then)))


@router.post("/login")
def show_token(
    request: Request,
    token: Annotated[str, Form(max_length=_LONGEST)] = "",
    then: Annotated[str, Form(max_length=_LONGEST)] = "/",
) -> Response:
    if caller_of(request) is not None:
        return RedirectResponse(within_lab(then), status_code=303)
    if token_of(request).is_it(token.strip()):
        return signed_in(request, then)
    context = sign_in(request, within_lab(then), complaint=WRONG)
    return render(request, context, status=401)


@router.post("/logout")
def sign_out(request: Request) -> Response:
    caller = caller_of(request)
    if caller is None or not caller.by_cookie:
        return RedirectResponse("/", status_code=303)
    return signed_out(request)
