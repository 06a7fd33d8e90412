"""What a route asks of its caller, said by its class: `APIRouter(route_class=ByMethod)`.

An application with a route that says nothing does not start (`public_paths`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Mount

from app.access.callers import Role, demand

_LOOKS = frozenset({"GET", "HEAD", "OPTIONS"})


class Public(APIRoute):
    """Answers everybody."""


class PublicFiles(Mount):
    """Gives its files to everybody."""


class _Guarded(APIRoute):
    """Looks at the caller before a body is read."""

    looking: ClassVar[Role]
    changing: ClassVar[Role]

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def admitted(request: Request) -> Response:
            demand(request, self.looking if request.method in _LOOKS else self.changing)
            return await handle(request)

        return admitted


class ByMethod(_Guarded):
    """Viewers look, runners change."""

    looking, changing = Role.VIEWER, Role.RUNNER


class SaysNothing(Exception):
    """A route that does not say who may use it."""


def public_paths(app: FastAPI) -> Callable[[str], bool]:
    """Whether a path is one that answers everybody; every other one needs a caller.

    Raises SaysNothing where a route does not say what it asks.
    """
    whole, beginnings = set[str](), list[str]()
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, PublicFiles):
            beginnings.append(f"{route.path}/")
        elif isinstance(route, Public):
            assert context.path is not None
            assert "{" not in context.path, "of a public route every path is known"
            whole.add(context.path)
        elif not isinstance(route, _Guarded):
            raise SaysNothing(f"{context.path or route}: name a class of app.access.routes")
    return lambda path: path in whole or path.startswith(tuple(beginnings))
