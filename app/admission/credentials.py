"""What a request brings to say who asks. It is read once, at the border, and goes no further."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode

from starlette.types import Scope

TOKEN = "token"
"""The parameter of an address that brings the token; no page has one of that name."""
OPENID_BACK = "/login/openid/back"
_FORWARDED = {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto",
              b"x-real-ip"}  # fmt: skip
_KEY = "lab.credentials"
_MOST_COOKIES = 8
"""Of one name: other sites of the same domain may add some."""


@dataclass(frozen=True)
class Credentials:
    """What was brought; none of it shows in its representation, and so in no log."""

    token: str | None = field(default=None, repr=False)
    """Of the address."""
    bearer: str | None = field(default=None, repr=False)
    """Of the Authorization header."""
    cookie: bytes = field(default=b"", repr=False)
    """The header."""
    told: bytes = field(default=b"", repr=False)
    """Of the address to which an OpenID provider sends browsers back, all that it is asked with."""
    forwarded: bool = False
    """Whether a proxy passed the request on, so that its own socket says nothing about who asks."""

    def cookies(self, name: str) -> list[str]:
        """The values of the cookies of a name; in time that grows with the header alone."""
        wanted = name.encode() + b"="
        found = (part.strip() for part in self.cookie.split(b";"))
        values = [part[len(wanted) :] for part in found if part.startswith(wanted)]
        return [value.decode("latin-1") for value in values[:_MOST_COOKIES]]


def take(scope: Scope) -> Credentials:
    """What the request brings. A token leaves the request's address, which servers log; so
    does what an OpenID provider says."""
    token, told = _take_token(scope), b""
    if scope["path"].endswith(OPENID_BACK):
        told, scope["query_string"] = scope["query_string"], b""
    bearer, cookies, forwarded = None, [], False
    for name, value in scope["headers"]:
        if name == b"authorization":
            bearer = _bearer(value)
        elif name == b"cookie":
            cookies.append(value)
        forwarded |= name in _FORWARDED
    return Credentials(token, bearer, b";".join(cookies), told, forwarded)


def _take_token(scope: Scope) -> str | None:
    query: bytes = scope["query_string"]
    if TOKEN.encode() not in unquote_to_bytes(query):
        return None
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    scope["query_string"] = urlencode([each for each in pairs if each[0] != TOKEN]).encode()
    return next((value for name, value in pairs if name == TOKEN), None)


def _bearer(value: bytes) -> str | None:
    scheme, _, token = value.decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def lay(scope: Scope, credentials: Credentials) -> None:
    """Put them where the gate finds them."""
    scope[_KEY] = credentials


def laid(scope: Scope) -> Credentials:
    """What the border found."""
    found = scope[_KEY]
    assert isinstance(found, Credentials)
    return found
