"""Lets in who may come in: the one place where a request gets its caller, or 401."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.access.callers import OWNER, SIGNED_IN, Caller, remember
from app.access.credentials import Credentials, laid
from app.access.peers import Peers
from app.access.signing_in import WRONG, is_secure, signed_in, token_of, wanted
from app.error_handlers import render
from app.errors import Unauthenticated
from app.settings import Auth, Settings

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="lab"', "Connection": "close"}
"""With an answer to a request whose body is not read."""


class Gate:
    """Behind it every request has a caller, or leads to what is public. It stands inside of the
    border, which takes the credentials out of the request.

    Args:
        is_public: Whether a path answers everybody.
    """

    def __init__(self, app: ASGIApp, settings: Settings, is_public: Callable[[str], bool]) -> None:
        self.app = app
        self._settings, self._is_public = settings, is_public
        self._peers = Peers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        caller = await self._caller(request, laid(scope))
        remember(request, caller)
        answer = self._answer(request, caller, laid(scope))
        await (answer or self.app)(scope, receive, send)

    def _answer(
        self, request: Request, caller: Caller | None, brought: Credentials
    ) -> Response | None:
        """The gate's own answer; None where the request goes on."""
        if brought.token is not None and request.method in ("GET", "HEAD"):
            # At once out of the address, which browsers show and remember.
            if self._settings.auth is not Auth.OFF and token_of(request).is_it(brought.token):
                return signed_in(request, wanted(request))
            if caller is not None:
                return RedirectResponse(wanted(request), status_code=303)
        if caller is not None or self._is_public(request.scope["path"]):
            return None
        wrong = brought.token is not None or brought.bearer is not None
        return render(request, Unauthenticated(WRONG if wrong else ""), _CHALLENGE)

    async def _caller(self, request: Request, brought: Credentials) -> Caller | None:
        if self._settings.auth is Auth.OFF:
            return OWNER
        token = token_of(request)
        if brought.bearer is not None:
            return OWNER if token.is_it(brought.bearer) else None
        if any(map(token.gave, brought.cookies(token.cookie_name(secure=is_secure(request))))):
            return SIGNED_IN
        if not self._settings.believes_sockets or brought.forwarded:
            return None
        client, server = request.scope.get("client"), request.scope.get("server")
        return OWNER if await self._peers.is_owner(client, server) else None
