"""How a browser signs in: the token for a cookie, and on to the page that was wanted."""

from __future__ import annotations

import re
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.access.token import OwnersToken

WRONG = "This is not the lab's token."
_WITHIN = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""An address of this host. Browsers read `//host` and `/\\host` as another's, and overlook tabs."""


def token_of(request: Request) -> OwnersToken:
    """What this process's callers are told by."""
    token = request.app.state.token
    assert isinstance(token, OwnersToken)
    return token


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


def is_secure(request: Request) -> bool:
    return request.url.scheme == "https"


def signed_in(request: Request, address: str) -> Response:
    """A browser that showed the token gets a cookie, and goes on to the page it wanted."""
    token = token_of(request)
    answer = RedirectResponse(within_lab(address), status_code=303)
    answer.set_cookie(
        token.cookie_name(secure=is_secure(request)),
        token.cookie(),
        max_age=token.lifetime_s,
        path=token.path,
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )
    return answer


def signed_out(request: Request) -> Response:
    """The browser's cookie goes, and the page to sign in comes."""
    token = token_of(request)
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(
        token.cookie_name(secure=is_secure(request)),
        path=token.path,
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )
    return answer
