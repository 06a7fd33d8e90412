"""Lets in who may come in: the one place where a request gets its caller, or 401."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.admission.callers import OWNER, Caller, remember
from app.admission.cookies import cookies_of, form_key
from app.admission.credentials import Credentials, laid
from app.admission.peers import Peers
from app.admission.routes import LOOKS, PublicPaths
from app.admission.signing_in import address_of, signed_in, token_of, wanted
from app.admission.throttle import Rate
from app.contracts.accounts import Role
from app.error_handlers import render
from app.errors import TooMany, Unauthenticated
from app.services import accounts, auditing
from app.services.lab import Lab
from app.settings import Auth, Settings
from app.store.acting import Act, acting

_LOG = logging.getLogger("lab.web")
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="lab"', "Connection": "close"}
"""With an answer to a request whose body is not read."""


class Gate:
    """Behind it every request has a caller, or leads to what is public. It stands inside of the
    border, which takes the credentials out of the request.

    Args:
        public: What answers everybody.
    """

    def __init__(self, app: ASGIApp, settings: Settings, public: PublicPaths) -> None:
        self.app = app
        self._settings, self._public = settings, public
        self._knows_token = settings.auth in (Auth.OWNER, Auth.TOKEN)
        self._records = settings.auth is Auth.ACCOUNTS
        self._peers = Peers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._public.is_file(scope["path"]):
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        caller = await self._caller(request, laid(scope))
        remember(request, caller, partial(self._caller, request, laid(scope)))
        answer = await self._too_many(request, caller)
        answer = answer or self._answer(request, caller, laid(scope))
        if answer is not None or request.method in LOOKS or not self._records:
            await (answer or self.app)(scope, receive, send)
        else:
            await self._recorded(request, _act(request, caller), receive, send)

    async def _recorded(self, request: Request, act: Act, receive: Receive, send: Send) -> None:
        """Pass on a request that may change something, and keep who asked for it."""
        status = 500

        async def told(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            with acting(act):
                await self.app(request.scope, receive, told)
        finally:
            try:
                await run_in_threadpool(auditing.finish, request.app.state.lab, act, status)
            except Exception:
                _LOG.exception("What came of %s by %s is not recorded.", act.what, act.who)

    async def _too_many(self, request: Request, caller: Caller | None) -> Response | None:
        rate: Rate = request.app.state.rate
        if caller is None or caller.user is None:
            return None
        wait = await run_in_threadpool(rate.take, caller.user.id)
        if wait is None:
            return None
        refused = TooMany(
            f"Your pages and programs asked more than {rate.most:,} times in a minute.",
            hint=f"Wait {wait} s. Who runs the lab can raise LAB_USER_REQUESTS.",
        )
        refused.retry_after_s = wait
        return render(request, refused, {"Connection": "close"})

    def _answer(
        self, request: Request, caller: Caller | None, brought: Credentials
    ) -> Response | None:
        """The gate's own answer; None where the request goes on."""
        if brought.token is not None and request.method in ("GET", "HEAD"):
            # At once out of the address, which browsers show and remember.
            if self._knows_token and token_of(request).is_it(brought.token):
                return signed_in(request, token_of(request).cookie(), wanted(request))
            if caller is not None:
                return RedirectResponse(wanted(request), status_code=303)
        if caller is not None or self._public.covers(request.scope["path"]):
            return None
        wrong = brought.token is not None or brought.bearer is not None
        complaint = "This token is not right." if wrong else ""
        return render(request, Unauthenticated(complaint), _CHALLENGE)

    async def _caller(self, request: Request, brought: Credentials) -> Caller | None:
        if self._settings.auth is Auth.OFF:
            return OWNER
        cookies = cookies_of(request)
        if self._settings.auth is Auth.ACCOUNTS:
            return await run_in_threadpool(_user, request.app.state.lab, brought.bearer, cookies)
        token = token_of(request)
        if brought.bearer is not None:
            return OWNER if token.is_it(brought.bearer) else None
        if given := next(filter(token.gave, cookies), None):
            return replace(OWNER, form_key=form_key(given))
        if not self._settings.believes_sockets or brought.forwarded:
            return None
        client, server = request.scope.get("client"), request.scope.get("server")
        return OWNER if await self._peers.is_owner(client, server) else None


def _act(request: Request, caller: Caller | None) -> Act:
    user = None if caller is None else caller.user
    return Act(
        who="" if user is None else user.name,
        address=address_of(request),
        what=f"{request.method} {request.scope['path']}",
        user_id=None if user is None else user.id,
        owns_all=caller is not None and caller.role is Role.ADMIN,
    )


def _user(lab: Lab, bearer: str | None, cookies: Sequence[str]) -> Caller | None:
    """By a token of a program, else by a browser's session."""
    if bearer is not None:
        user = accounts.by_token(lab, bearer)
        return None if user is None else Caller(user.role, user)
    found = accounts.by_session(lab, cookies)
    return None if found is None else Caller(found[1].role, found[1], form_key(found[0]))
