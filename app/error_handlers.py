"""Every error becomes an answer here: RFC 9457 problem details under /api, a page elsewhere."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from app.errors import InvalidFields, LabError, TooLarge, field_errors

_LOG = logging.getLogger("lab.web")
_HINTS = {
    400: "Check the request's form: JSON or multipart, complete and well-formed.",
    404: "The API is described at /docs.",
    405: "The API is described at /docs.",
}


class FieldProblem(BaseModel):
    """One wrong input."""

    field: str
    message: str


class Problem(BaseModel):
    """Problem details (RFC 9457), with a hint on what to do."""

    type: str
    """Stays the same for the same kind of problem."""
    title: str
    status: int
    detail: str
    hint: str
    instance: str
    """The path of the request."""
    errors: list[FieldProblem] = []
    """The wrong inputs, where the problem is about inputs."""


def render(request: Request, error: LabError, headers: dict[str, str] | None = None) -> Response:
    """The one place where an error becomes an answer."""
    if not request.url.path.startswith("/api"):
        page: Response = request.app.state.error_page(request, error)
        page.headers.update(headers or {})
        return page
    kind = re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
    return _problem(request, f"urn:agkd-bml-lab:problem:{kind}", error, headers)


def _problem(
    request: Request, type_: str, error: LabError, headers: dict[str, str] | None
) -> Response:
    pairs: list[tuple[str, str]] = []
    if isinstance(error, InvalidFields):
        pairs = list(error.errors)
    elif error.field is not None:
        pairs = [(error.field, error.detail)]
    body = Problem(
        type=type_,
        title=error.title,
        status=error.status,
        detail=error.detail,
        hint=error.hint,
        instance=request.url.path,
        errors=[FieldProblem(field=field, message=message) for field, message in pairs],
    )
    return JSONResponse(
        body.model_dump(),
        status_code=error.status,
        headers=headers,
        media_type="application/problem+json",
    )


def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, LabError)
    return render(request, error)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = field_errors(error.errors())
    return render(request, InvalidFields(fields, hint="The API is described at /docs."))


async def _http(request: Request, error: Exception) -> Response:
    """Errors of the framework itself: unknown paths, wrong methods, broken bodies."""
    assert isinstance(error, HTTPException)
    if error.status_code < 400:
        return await http_exception_handler(request, error)
    headers = dict(error.headers or {})
    if error.status_code == 413:
        return render(request, TooLarge(error.detail, hint="Send less."), headers)
    plain = LabError(str(error.detail), hint=_HINTS.get(error.status_code, ""))
    plain.status = error.status_code
    plain.title = HTTPStatus(error.status_code).phrase
    if request.url.path.startswith("/api"):
        return _problem(request, "about:blank", plain, headers)
    return render(request, plain, headers)


def unexpected(request: Request, error: Exception) -> Response:
    """The answer to a fault of the lab: nothing about it but a number to find it in the log."""
    incident = secrets.token_hex(4)
    _LOG.error("incident %s: %s %s", incident, request.method, request.url.path, exc_info=error)
    return render(
        request,
        LabError(
            "The lab met an error that it did not expect.",
            hint=f"Look for incident {incident} in the log of the web process.",
        ),
    )


def install(app: FastAPI, error_page: Callable[[Request, LabError], Response]) -> None:
    """Answer the errors that `app` expects, outside /api by `error_page`."""
    app.state.error_page = error_page
    app.add_exception_handler(LabError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
