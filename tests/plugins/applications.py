"""Web applications in the process of the tests, asked with a socket or without."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from app.admission.token import kept_token


@contextmanager
def running(app: FastAPI, portal: BlockingPortal) -> Iterator[FastAPI]:
    """The application from its start to its end, in the portal's event loop."""
    with portal.wrap_async_context_manager(app.router.lifespan_context(app)):
        yield app


class InProcess(httpx.BaseTransport):
    """`httpx.ASGITransport` for a client that does not await: every layer but the socket.

    An answer arrives when it is complete, so that streams of running jobs need a server. No socket
    says whose process asks: the owner's brings the token.
    """

    def __init__(self, app: FastAPI, portal: BlockingPortal, *, is_owner: bool = True) -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._portal = portal
        self._token = kept_token(app.state.settings.data_dir) if is_owner else None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._token is not None:
            request.headers.setdefault("Authorization", f"Bearer {self._token}")
        request.read()  # a body that can be awaited, whatever it came from
        return self._portal.call(self._answer, request)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._transport.handle_async_request(request)
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        sent = b"".join([part async for part in answer.stream])
        return httpx.Response(
            answer.status_code, headers=answer.headers, stream=httpx.ByteStream(sent)
        )


class Entrance:
    """A web server whose application is changed from test to test, since to start one takes time.

    `url` is where it listens.
    """

    url = ""
    _app: FastAPI | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._app is not None, "nobody asks between tests"
        await self._app(scope, receive, send)

    @contextmanager
    def leading_to(self, app: FastAPI) -> Iterator[str]:
        self._app = app
        try:
            yield self.url
        finally:
            self._app = None


@contextmanager
def entrance(portal: BlockingPortal) -> Iterator[Entrance]:
    """A real server on a free port, in the portal's event loop."""
    opened = Entrance()
    config = uvicorn.Config(
        opened, host="127.0.0.1", port=0, log_level="critical", lifespan="off",
        timeout_graceful_shutdown=2, proxy_headers=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    over = portal.start_task_soon(server.serve)
    while not server.started:
        assert not over.done(), "the web server starts"
        time.sleep(0.01)
    opened.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield opened
    server.should_exit = True
    over.result(20)
