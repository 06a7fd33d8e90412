"""Every route says what it asks of its caller, and nobody passes without being one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal
from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from app.admission.routes import ByMethod, Public, SaysNothing, public_paths
from app.settings import BESIDE
from tests.plugins.applications import InProcess

PUBLIC = {
    "/api/alive",
    "/login",
    "/login/openid",
    "/login/openid/back",
    "/static/lab.css",
    "/static/nothing",
}
BARE: dict[str, Any] = {"openapi_url": None, "docs_url": None, "redoc_url": None}
EVERY_METHOD = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND")


@pytest.fixture
def stranger(app: FastAPI, portal: BlockingPortal) -> Iterator[httpx.Client]:
    transport = InProcess(app, portal, is_owner=False)
    with httpx.Client(transport=transport, base_url="http://127.0.0.1") as opened:
        yield opened


def paths(app: FastAPI) -> set[str]:
    """Every path of the application, with something in the place of its parameters."""
    found = set()
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, Mount):
            found |= {f"{context.original_route.path}{end}" for end in ("/lab.css", "/nothing")}
            continue
        assert context.path is not None
        found.add(shown(context.path))
    return found


def shown(path: str) -> str:
    """A route's path with something in the place of its parameters."""
    parts = path.split("/")
    return "/".join(p if "{" not in p else "f" * 32 + p.rpartition("}")[2] for p in parts)


def test_every_route_asks_who_it_is(app: FastAPI, stranger: httpx.Client) -> None:
    every = paths(app)
    assert len(every) > 95
    assert every >= PUBLIC
    for path in sorted(every - PUBLIC):
        for method in EVERY_METHOD:
            answer = stranger.request(method, path)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer"), path
            assert answer.headers["cache-control"] == "no-store"
            kind = "application/problem+json" if path.startswith("/api") else "text/html"
            assert answer.headers["content-type"].startswith(kind), path


def test_what_is_public_is_little(app: FastAPI, stranger: httpx.Client) -> None:
    for path in sorted(PUBLIC):
        assert stranger.get(path).status_code in (200, 204, 303, 404, 405), path
    assert stranger.get("/api/alive").content == b""
    assert "lab.css" in stranger.get("/login").text


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/api/nowhere", "/api", "//", "/login/", "/LOGIN", "/login%0a", "/login/../jobs",
     "/static", "/static../app/main.py", "/%2e%2e/jobs", "/api/alive/../jobs", "//static/lab.css",
     "/Static/lab.css", "/jobs/", "/;/static/lab.css", "/jobs%2f..%2flogin", "/api/openapi.json"],
)  # fmt: skip
def test_other_spellings_open_nothing(stranger: httpx.Client, path: str) -> None:
    assert stranger.get(httpx.URL("http://127.0.0.1", raw_path=path.encode())).status_code == 401


def test_streams_ask_too(stranger: httpx.Client) -> None:
    headers = {"Accept": "text/event-stream"}
    answer = stranger.get(f"/api/jobs/{'f' * 32}/events", headers=headers)
    assert answer.status_code == 401


def nothing() -> None:
    """A route of the tests."""


def silent() -> Iterator[FastAPI]:
    """Applications with a route that says nothing about its callers, in each way to add one."""
    added, included, inner, mounted, plain = (FastAPI(**BARE) for _ in range(5))
    added.get("/new")(nothing)
    router, below = APIRouter(prefix="/new"), APIRouter(route_class=ByMethod)
    router.get("")(nothing)
    included.include_router(router)
    below.include_router(router)
    inner.include_router(below)
    mounted.mount("/files", StaticFiles(directory=BESIDE / "static"))
    plain.router.routes.append(Route("/new", lambda _: None))
    yield from (added, included, inner, mounted, plain, FastAPI())


def test_an_application_with_a_route_that_says_nothing_does_not_start() -> None:
    for app in silent():
        with pytest.raises(SaysNothing):
            public_paths(app)


def test_a_route_that_says_something_is_public_only_if_it_says_so() -> None:
    app = FastAPI(**BARE)
    for name, route_class in (("/open", Public), ("/closed", ByMethod)):
        router = APIRouter(route_class=route_class)
        router.get(name)(nothing)
        app.include_router(router, prefix="/new")
    is_public = public_paths(app).covers
    assert [is_public(path) for path in ("/new/open", "/new/closed", "/open")] == [
        True, False, False,
    ]  # fmt: skip
