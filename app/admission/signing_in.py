"""How a browser signs in: a cookie, and on to the page that was wanted."""

from __future__ import annotations

import re
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.admission.cookies import cookie_of
from app.admission.throttle import Throttle
from app.admission.token import OwnersToken

_WITHIN = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""An address of this host. Browsers read `//host` and `/\\host` as another's, and overlook tabs."""


def token_of(request: Request) -> OwnersToken:
    """What this process's callers are told by."""
    token = request.app.state.token
    assert isinstance(token, OwnersToken)
    return token


def throttle_of(request: Request) -> Throttle:
    """What makes guessing slow."""
    throttle = request.app.state.throttle
    assert isinstance(throttle, Throttle)
    return throttle


def address_of(request: Request) -> str:
    """Where the request comes from: who connected, or whom a trusted proxy names."""
    return "" if request.client is None else request.client.host


def within_lab(address: str) -> str:
    """The address, where it is one of the lab's own; else the first page."""
    return address if _WITHIN.fullmatch(address) else "/"


def wanted(request: Request) -> str:
    """The page that was asked for, as an address of the lab."""
    if request.method not in ("GET", "HEAD"):
        return "/"
    path = "/" + quote(request.scope["path"]).lstrip("/")
    query = request.scope["query_string"].decode("latin-1")
    return within_lab(f"{path}?{query}" if query else path)


def signed_in(request: Request, value: str, address: str) -> Response:
    """The browser keeps the cookie's value, and goes on to the page that it wanted."""
    answer = RedirectResponse(within_lab(address), status_code=303)
    return cookie_of(request).give(request, answer, value)


def signed_out(request: Request) -> Response:
    """The browser's cookie goes, and the page to sign in comes."""
    return cookie_of(request).take(request, RedirectResponse("/login", status_code=303))
