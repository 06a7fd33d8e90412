"""What every request passes first, and what every answer carries.

Where nobody needs an account, only this machine may reach the lab. Browsers run other sites' code
on this machine too, with all that lets their users in; these rules keep it out.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from collections.abc import Callable, Collection
from typing import NamedTuple

from anyio import BrokenResourceError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import journal
from app.admission import credentials
from app.admission.routes import LOOKS
from app.error_handlers import render, unexpected
from app.errors import (
    Forbidden,
    InvalidInput,
    LabError,
    LengthRequired,
    Misdirected,
    TooLarge,
    Unavailable,
)

_LOG = logging.getLogger("lab.web")
_OWN_NAME = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_OTHER_CHARSET = re.compile(r'charset(?!="?utf-8"?\s*(;|$))', re.IGNORECASE)
"""In a form's type. Parsers decode by any codec of Python's; that of punycode takes minutes for a
megabyte."""
_HEADERS = {
    # Plotly writes style attributes; nothing else is inline or from elsewhere.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_READ = frozenset(
    name.encode()
    for name in (
        "accept-encoding", "connection", "content-length", "content-type", "host",
        "hx-request", "hx-target", "idempotency-key", "if-modified-since", "if-none-match",
        "if-range", "last-event-id", "origin", "range", "sec-fetch-site", "transfer-encoding",
        "x-csrf-token",
    )
)  # fmt: skip
"""What routes read of a request. Other headers never reach a parser: on many versions of Python
that of cookies takes seconds for 40 kB. What says who asks is taken out before."""

_ADDRESSES = {"location", "hx-push-url"}
"""Headers that name an address of the lab, with or without its host."""
_UNREAD = {"Connection": "close"}
"""With an answer to a body that was not read; else the server would read it and throw it away."""


_MOST_AT_ONCE = 900
"""Requests; streams of events among them have a limit of their own. The server itself refuses too
many connections, without a word on when to come again."""
_CROWDED = Unavailable(
    f"{_MOST_AT_ONCE} requests are being answered already.", hint="Try again in a few seconds."
)
_ELSEWHERE = Misdirected(
    "The lab answers only on this machine's own address.",
    hint="Let it listen on 127.0.0.1, and forward the port by ssh; or have accounts.",
)


class Limit(NamedTuple):
    """Of the body of a request."""

    size: int
    """Bytes."""
    hint: str = "Send less."
    """What to do where it is larger."""


def _refusal(request: Request, limit: Limit, names: Collection[str]) -> LabError | None:
    host = request.headers.get("host", "")
    if not (_OWN_NAME.fullmatch(host) or _is_among(names, host)):
        # Another name that leads here is DNS rebinding: a foreign site posing as this lab.
        known = ", ".join(dict.fromkeys(("localhost", "127.0.0.1", *names)))
        return Misdirected(
            f"The lab answers only to {known} and [::1].",
            hint="Open it under one of these names, with its port. Behind a proxy, name that in "
            "LAB_ALLOWED_HOSTS.",
        )
    if request.method not in LOOKS and _is_foreign(request, host):
        return Forbidden(
            "The request comes from another site.", hint="Use the lab's own pages, or no browser."
        )
    media_type = request.headers.get("content-type", "")
    if "multipart" in media_type.lower() and _OTHER_CHARSET.search(media_type):
        return InvalidInput("The form is not in UTF-8.", hint="Send it as that; name no charset.")
    if "transfer-encoding" in request.headers:
        # 200,000 pieces of a byte keep h11 busy for 0.8 s, and everybody waits.
        return LengthRequired(
            "The request does not say how long it is.", hint="Send it whole, with Content-Length."
        )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limit.size:
        return _too_large(limit)
    return None


def _is_among(names: Collection[str], host: str) -> bool:
    """A name without a port stands for all of its ports."""
    host = host.lower()
    return host in names or re.sub(r":\d{1,5}$", "", host) in names


def _is_loopback(request: Request) -> bool:
    """Whether the request came in at 127.0.0.0/8 or ::1, wherever the server listens."""
    address, _ = request.scope.get("server") or ("", None)
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _is_foreign(request: Request, host: str) -> bool:
    own = f"{request.url.scheme}://{host}".lower()
    site = request.headers.get("sec-fetch-site", "none")
    return site not in ("same-origin", "none") or request.headers.get("origin", own).lower() != own


def _too_large(limit: Limit) -> TooLarge:
    return TooLarge(f"The request is larger than {limit.size // 2**20:,} MB.", hint=limit.hint)


class Border:
    """Refuses foreign, misdirected and too large requests; answers what nobody expected.

    Behind it nobody knows under which path a proxy serves the lab: paths of requests lose it, and
    addresses in headers get it. `app.web.render` does the same with those in pages.

    Args:
        limit_of: The largest body that a path takes.
        names: Of hosts, beside this machine's own.
        root: The path of the proxy, or nothing.
        on_loopback: Whether to answer at this machine's own address alone, wherever the server
            listens.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit_of: Callable[[str], Limit],
        names: Collection[str],
        root: str,
        *,
        on_loopback: bool = True,
    ) -> None:
        self.app = app
        self.limit_of, self.names, self.root = limit_of, names, root
        self.on_loopback = on_loopback
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # there is none, and so no rule for one
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = journal.request_id(given)
        # Not taken back: what the request has set going is on its behalf, too.
        journal.request.set(request_id)
        brought = credentials.take(scope)
        read = [(name, value) for name, value in scope["headers"] if name in _READ]
        scope = {**_below(self.root, scope), "headers": read}
        credentials.lay(scope, brought)
        request, answer = Request(scope), _Answer(scope, send, self.root, request_id)
        limit = self.limit_of(request.scope["path"])  # the URL's leaves line breaks out
        refusal = _refusal(request, limit, self.names)
        if self.on_loopback and not _is_loopback(request):
            refusal = _ELSEWHERE
        if self._open >= _MOST_AT_ONCE:
            refusal = _CROWDED
        app = self.app if refusal is None else render(request, refusal, _UNREAD)
        self._open += 1
        try:
            await app(scope, _limited(receive, limit), answer.send)
        except Exception as error:
            if _went_away(error):
                return
            if answer.started:
                raise
            await unexpected(request, error)(scope, receive, answer.send)
        finally:
            self._open -= 1
            answer.log()


def _went_away(error: Exception) -> bool:
    """Whether it only says that nobody reads a stream any more."""
    if isinstance(error, ExceptionGroup):
        return all(map(_went_away, error.exceptions))
    return isinstance(error, BrokenResourceError)


def _below(root: str, scope: Scope) -> Scope:
    """The request without a proxy's path, which some proxies take away themselves."""
    path: str = scope["path"]
    if not root or not f"{path}/".startswith(f"{root}/"):
        return scope
    raw = scope.get("raw_path")
    return {
        **scope,
        "path": path[len(root) :] or "/",
        "raw_path": raw and (raw[len(root) :] or b"/"),
    }


def _limited(receive: Receive, limit: Limit) -> Receive:
    """Stops reading a body of unknown length at the limit."""
    total = 0

    async def receive_some() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > limit.size:
            # The framework lets only its own errors out of the reading of a body.
            raise HTTPException(413, _too_large(limit).detail, headers=_UNREAD)
        return message

    return receive_some


class _Answer:
    """Adds the headers that no route has set, and a proxy's path to addresses in others."""

    def __init__(self, scope: Scope, send: Send, root: str, request_id: str) -> None:
        self._scope, self._send, self._root = scope, send, root
        self._request_id, self._begin = request_id, time.monotonic()
        self._status: int | None = None

    @property
    def started(self) -> bool:
        return self._status is not None

    def log(self) -> None:
        """Keep what was asked and answered: nothing of a query, which may hold a token."""
        method, path = self._scope["method"], self._scope["path"]
        took = {"status": self._status, "seconds": round(time.monotonic() - self._begin, 4)}
        _LOG.info("%s %s", method, path, extra={"facts": took})

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._request_id
            if self._root:
                self._lead_below(headers)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            fresh = "no-cache" if self._scope["path"].startswith("/static/") else "no-store"
            headers.setdefault("Cache-Control", fresh)
        await self._send(message)

    def _lead_below(self, headers: MutableHeaders) -> None:
        own = str(Request(self._scope).base_url)
        for name in _ADDRESSES & set(headers):
            path = headers[name].removeprefix(own).lstrip("/")
            headers[name] = f"{self._root}/{path}"
