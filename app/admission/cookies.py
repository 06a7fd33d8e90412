"""The cookie of a browser that has signed in."""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from app.admission.credentials import laid
from app.settings import Settings


class Cookie:
    """How it is called, where it goes and how long it is kept.

    Args:
        what: The beginning of its name.
        lab: The key of a lab whose web processes are at several ports; none of one that is at one.
        same_site: Which requests from elsewhere bring it: none, or links that lead here, too.
    """

    def __init__(
        self,
        settings: Settings,
        what: str = "lab",
        *,
        lab: bytes | None = None,
        lifetime_s: int | None = None,
        same_site: Literal["strict", "lax"] = "strict",
    ) -> None:
        self._what, self._same_site = what, same_site
        place = f"{settings.data_dir}:{settings.port}".encode(errors="replace")
        self._label = hashlib.sha256(lab or place).hexdigest()[:10]
        self._path = settings.root_path or "/"
        self._lifetime_s = lifetime_s or settings.session_h * 3600

    def name(self, request: Request) -> str:
        """Cookies know no ports: several labs of one host need names of their own. The prefixes
        keep out what other sites of the same domain set."""
        prefix = "__Host-" if self._path == "/" else "__Secure-"
        return f"{prefix if _is_secure(request) else ''}{self._what}-{self._label}"

    def give(self, request: Request, answer: Response, value: str) -> Response:
        """Let the browser keep the value."""
        answer.set_cookie(
            self.name(request),
            value,
            max_age=self._lifetime_s,
            path=self._path,
            secure=_is_secure(request),
            httponly=True,
            samesite=self._same_site,
        )
        return answer

    def take(self, request: Request, answer: Response) -> Response:
        """Let it forget the value."""
        answer.delete_cookie(
            self.name(request),
            path=self._path,
            secure=_is_secure(request),
            httponly=True,
            samesite=self._same_site,
        )
        return answer


def cookie_of(request: Request) -> Cookie:
    """That of this process's lab."""
    cookie = request.app.state.cookie
    assert isinstance(cookie, Cookie)
    return cookie


def cookies_of(request: Request) -> list[str]:
    """The values that the request brings of it."""
    return laid(request.scope).cookies(cookie_of(request).name(request))


def form_key(value: str) -> str:
    """What shows that a form is from a page that was made for the browser with this cookie."""
    return hmac.new(value.encode("latin-1"), b"forms", "sha256").hexdigest()[:32]


def _is_secure(request: Request) -> bool:
    return request.url.scheme == "https"
