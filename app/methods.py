"""Which methods an address takes, whichever of its routes have them."""

from __future__ import annotations

import re
from collections.abc import Set

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from app import error_handlers


class MethodsOf:
    """Of every address of an application."""

    def __init__(self, app: FastAPI) -> None:
        self._whole: dict[str, set[str]] = {}
        self._patterns: list[tuple[re.Pattern[str], Set[str]]] = []
        for context in iter_route_contexts(app.routes):
            if context.path is None or context.methods is None:
                continue  # files
            if "{" in context.path:
                self._patterns.append((compile_path(context.path)[0], context.methods))
            else:
                self._whole.setdefault(context.path, set()).update(context.methods)

    def __getitem__(self, path: str) -> Set[str]:
        """Nothing where it is none."""
        if (whole := self._whole.get(path)) is not None:
            return whole
        fitting = (methods for pattern, methods in self._patterns if pattern.match(path))
        return set[str]().union(*fitting)


class Methods:
    """What is asked by a method that its address does not have ends here, before a body is read.

    The router would name the methods of an address's first route alone, and would take the end of
    `/api/jobs/rerun` for the id of a job where only `/api/jobs/{job_id}` has the method.
    """

    def __init__(self, app: ASGIApp, table: MethodsOf) -> None:
        self.app = app
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            known = self._table[scope["path"]]
            if known and scope["method"] not in known:
                wrong = HTTPException(405, headers={"Allow": ", ".join(sorted(known))})
                answer = await error_handlers.http(Request(scope), wrong)
                await answer(scope, receive, send)
                return
        await self.app(scope, receive, send)
