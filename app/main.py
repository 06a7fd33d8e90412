"""The web application: routes, pages, errors, and what runs beside them."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from types import FrameType
from typing import Any

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

import journal
from app import error_handlers
from app.admission.away import Away
from app.admission.cookies import Cookie
from app.admission.routes import PublicFiles, PublicPaths, public_paths
from app.admission.throttle import WHILE_S, Buckets, Rate, Throttle
from app.admission.token import OwnersToken, kept_token
from app.api import metrics
from app.api import router as api
from app.bell import Bell
from app.border import Border, Limit
from app.contracts.export import MAX_BYTES as MAX_EXPORT_BYTES
from app.duties import end, keep_house
from app.gate import Gate
from app.methods import Methods, MethodsOf
from app.services import announcing
from app.services.lab import Lab
from app.services.openid import Provider
from app.services.uploads import MAX_IMAGE_BYTES
from app.settings import BESIDE, VERSION, Auth, Settings
from app.settings import settings as environment
from app.store import keys
from app.web import pages

_LOG = logging.getLogger("lab.web")
_DESCRIPTORS = 16_384
_LARGE_PAGE = 2**14
"""Bytes from which a page is worth the time that compressing takes."""
_SMALL_BODY = 2**20
"""Bytes of a body that holds no file, or of what comes with a file."""


@contextmanager
def _ends_with_the_server(bell: Bell) -> Iterator[None]:
    """Close the bell at the signal that stops the server.

    The server waits for open streams before it tells the application to end, so the application
    has to hear of the signal itself.
    """
    loop = asyncio.get_running_loop()
    previous: dict[signal.Signals, Callable[[int, FrameType | None], Any]] = {}

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(bell.close)
        previous[signal.Signals(number)](number, frame)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                previous[number] = handler
                signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    lab = Lab.open(app.state.settings)
    bell = Bell(lab.settings.broker_url)
    app.state.lab, app.state.bell = lab, bell
    app.state.token = _token(lab.settings)
    name = keys.kept(lab.database, "cookies") if lab.settings.shares_database else None
    app.state.cookie = Cookie(lab.settings, lab=name)
    if lab.settings.oidc_issuer is not None:
        app.state.away = Away(lab.settings, keys.kept(lab.database, "away"), lab=name)
        app.state.openid = Provider(lab.settings)
    app.state.throttle = Throttle(_shared(lab.settings, "attempts", WHILE_S))
    app.state.rate = Rate(lab.settings.user_requests, _shared(lab.settings, "requests", 60.0))
    announcing.set_up(lab)
    _open_more_files()
    beside = [asyncio.create_task(each) for each in (keep_house(lab), bell.hear())]
    # What is loaded by now stays for ever. A full garbage collection that walks it costs a page
    # 0.15 s.
    gc.collect()
    gc.freeze()
    try:
        with _ends_with_the_server(bell):
            yield
    finally:
        bell.close()
        for task in beside:
            await end(task)
        lab.close()


def _shared(settings: Settings, what: str, while_s: float) -> Buckets | None:
    """Where all processes count, if there can be several."""
    if not settings.shares_database:
        return None
    from app.admission.shared import SharedBuckets

    return SharedBuckets(settings.broker_url, what, while_s)


def _token(settings: Settings) -> OwnersToken | None:
    if settings.auth not in (Auth.OWNER, Auth.TOKEN):
        return None
    return OwnersToken(kept_token(settings.data_dir), settings.session_h * 3600)


def _open_more_files() -> None:
    """As many as this user may: a connection takes one, and there are usually 1,024."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, _DESCRIPTORS)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


class _CompressedPages:
    """Large pages travel compressed: an evaluation's holds its charts and its pictures.

    Never event streams, which the middleware leaves alone by their type, nor what the API answers:
    weights and archives do not get smaller.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._plain = app
        self._compressed = GZipMiddleware(app, minimum_size=_LARGE_PAGE, compresslevel=4)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        other = scope["type"] != "http" or scope["path"].startswith(("/api/", "/static/"))
        await (self._plain if other else self._compressed)(scope, receive, send)


@cache
def _house() -> tuple[tuple[BaseRoute, ...], PublicPaths, MethodsOf]:
    """Every route, what of it answers everybody, and the methods of each address: the same for
    every application of a process, and most of the work of making one."""
    house = FastAPI(openapi_url=None)
    for router in (api.router, metrics.router, pages.router):
        house.include_router(router)
    # A browser asks each time whether a file is still the same, and gets it once.
    files = GZipMiddleware(StaticFiles(directory=BESIDE / "static"), compresslevel=6)
    house.router.routes.append(PublicFiles("/static", files))
    return tuple(house.routes), public_paths(house), MethodsOf(house)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application on `settings`, by default those of the environment."""
    facts = settings or environment()
    app = api.Described(
        title="AGKD-BML Lab",
        version=VERSION,
        description="Train robust image classifiers, measure how robust they are, and see what "
        "they look at.",
        lifespan=_lifespan,
        openapi_url=None,
        servers=[{"url": facts.root_path}] if facts.root_path else None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = facts
    error_handlers.install(app)
    routes, public, methods = _house()
    app.router.routes.extend(routes)
    app.add_middleware(_CompressedPages)
    app.add_middleware(Methods, table=methods)
    app.add_middleware(Gate, settings=facts, public=public)
    app.add_middleware(
        Border,
        limit_of=_body_limits(facts),
        names=(*facts.allowed_hosts, facts.shown_host),
        root=facts.root_path,
        on_loopback=facts.auth is not Auth.ACCOUNTS,
    )
    if facts.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(facts.trusted_proxies))
    return app


def served() -> FastAPI:
    """The application of a process of its own, with its log."""
    journal.set_up(environment().log)
    return create_app()


def _body_limits(facts: Settings) -> Callable[[str], Limit]:
    """The largest body of each path: some take files, most of them also as a page's form."""
    upload = Limit(
        facts.max_upload_mb * 2**20 + _SMALL_BODY, "Raise LAB_MAX_UPLOAD_MB, or send less."
    )
    limits = {
        **dict.fromkeys(("/datasets", "/models", "/models/import"), upload),
        "/live": Limit(MAX_IMAGE_BYTES + _SMALL_BODY),
        "/jobs/rerun": Limit(MAX_EXPORT_BYTES + _SMALL_BODY),
    }

    def limit_of(path: str) -> Limit:
        return limits.get(path.removeprefix("/api"), Limit(_SMALL_BODY))

    return limit_of
