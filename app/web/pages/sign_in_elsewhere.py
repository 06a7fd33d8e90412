"""Where a browser leaves for an OpenID provider, and comes back signed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from app.admission.away import Away
from app.admission.cookies import cookie_of
from app.admission.credentials import OPENID_BACK, laid
from app.admission.routes import Public
from app.admission.signing_in import address_of, throttle_of, within_lab
from app.deps import LabDep
from app.errors import Forbidden, LabError, NotFound, TooMany, Unauthenticated
from app.services import accounts, auditing, openid
from app.services.lab import Lab
from app.services.openid import Provider
from app.web.render import Context, own_address, render, sign_in

router = APIRouter(route_class=Public)


@dataclass(frozen=True)
class SignedInContext(Context):
    """On to the page that was wanted, from a page of the lab's own: a browser that was led here
    from elsewhere keeps the session back until then."""

    template: ClassVar[str] = "signed_in.html"

    then: str
    """The page, an address of the lab."""
    address: str
    """The same, with the path of a proxy."""


def _parts(request: Request) -> tuple[Provider, Away]:
    """Raises NotFound where the lab has no provider."""
    if request.app.state.settings.oidc_issuer is None:
        raise NotFound("This lab has no OpenID provider.", hint="LAB_OIDC_ISSUER names one.")
    return request.app.state.openid, request.app.state.away


@router.get("/login/openid")
def leave(request: Request, then: Annotated[str, Query(max_length=2000)] = "/") -> Response:
    provider, away = _parts(request)
    url, pending = provider.begin(f"{own_address(request)}{OPENID_BACK}", within_lab(then))
    answer = RedirectResponse(url, status_code=303)
    return away.cookie.give(request, answer, away.sealed(pending))


@router.get(OPENID_BACK)
def come_back(lab: LabDep, request: Request) -> Response:
    _, away = _parts(request)
    try:
        answer = _signed_in(lab, request)
    except (Forbidden, TooMany, Unauthenticated) as refused:
        form = sign_in(request, "/", complaint=f"{refused.detail} {_hint(refused)}".strip())
        answer = render(request, form, status=refused.status)
    return away.cookie.take(request, answer)


def _hint(refused: LabError) -> str:
    return "" if isinstance(refused, Unauthenticated) else refused.hint


def _signed_in(lab: Lab, request: Request) -> Response:
    """Only attempts, of which there are few, are recorded: anybody may ask for this address."""
    provider, away = _parts(request)
    told = parse_qs(laid(request.scope).told.decode("latin-1"))
    code, state = (told.get(name, [""])[0] for name in ("code", "state"))
    pending = away.opened(request, state)
    if pending is None:
        raise Unauthenticated("This did not begin in this browser, or took too long.")
    key = f"openid {address_of(request)}", address_of(request)
    accounts.attempt(throttle_of(request), *key)
    with auditing.recorded(lab, f"GET {OPENID_BACK}", address_of(request)):
        if not code:
            raise Unauthenticated("The provider did not let you in.")
        claims = provider.finish(pending, f"{own_address(request)}{OPENID_BACK}", code)
        session = openid.sign_in(lab, claims)
    throttle_of(request).give_back(*key)
    address = f"{lab.settings.root_path}{pending.then}"
    page = render(request, SignedInContext(then=pending.then, address=address))
    return cookie_of(request).give(request, page, session)
