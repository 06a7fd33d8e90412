"""What a route asks of its caller, said by its class: `APIRouter(route_class=ByMethod)`.

An application with a route that says nothing does not start (`public_paths`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Mount

from app.admission.callers import demand
from app.admission.forms import check_form
from app.contracts.accounts import Role

LOOKS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""


Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def asks(endpoint: Endpoint) -> Endpoint:
    """Mark what is posted to and changes nothing: what it is asked about is too long for an
    address. Whoever may look may ask."""
    endpoint.asks = True  # type: ignore[attr-defined]
    return endpoint


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
            looks = request.method in LOOKS
            asked = looks or getattr(self.endpoint, "asks", False)
            caller = demand(request, self.looking if asked else self.changing)
            if caller.by_cookie and not looks:
                await check_form(request, caller.form_key)
            return await handle(request)

        return admitted


class ByMethod(_Guarded):
    """Viewers look, runners change."""

    looking, changing = Role.VIEWER, Role.RUNNER


class ForEverybodyInside(_Guarded):
    """What concerns the caller alone: whatever the role."""

    looking = changing = Role.VIEWER


class ForAdmins(_Guarded):
    """What concerns everybody."""

    looking = changing = Role.ADMIN


class SaysNothing(Exception):
    """A route that does not say who may use it."""


@dataclass(frozen=True)
class PublicPaths:
    """What answers everybody; every other path needs a caller."""

    whole: frozenset[str]
    beginnings: tuple[str, ...]
    """Of files."""

    def covers(self, path: str) -> bool:
        return path in self.whole or self.is_file(path)

    def is_file(self, path: str) -> bool:
        """Whether nobody needs to be known for it."""
        return path.startswith(self.beginnings)


def public_paths(app: FastAPI) -> PublicPaths:
    """What an application gives to everybody.

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
            raise SaysNothing(f"{context.path or route}: name a class of app.admission.routes")
    return PublicPaths(frozenset(whole), tuple(beginnings))
