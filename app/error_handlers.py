"""Every error becomes an answer here: RFC 9457 problem details under /api, a page elsewhere."""

from __future__ import annotations

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

import journal
from app.api.problems import PLAIN, problem
from app.errors import (
    InvalidFields,
    LabError,
    NotFound,
    TooLarge,
    Unavailable,
    field_errors,
    trouble,
)
from app.web.render import error_page

_LOG = logging.getLogger("lab.web")
_NO_PAGE = NotFound(
    "There is no page at this address.",
    hint="It may be mistyped or cut off. The menu leads to jobs, models and datasets; what was "
    "deleted is in their bins for a week.",
)
_PAGE_HINT = "Go back, or begin at one of the pages of the menu."
_API_HINT = "The API is described at /docs."
_HINTS = {
    400: "Check the request's form: JSON or multipart, complete and well-formed.",
    404: _API_HINT,
    405: _API_HINT,
}


def render(
    request: Request,
    error: LabError,
    headers: dict[str, str] | None = None,
    *,
    type_: str | None = None,
) -> Response:
    """The one place where an error becomes an answer; `type_` is that of a problem of the API."""
    every = dict(headers or {})
    if error.retry_after_s is not None:
        every["Retry-After"] = str(error.retry_after_s)
    if _is_for_programs(request):
        return problem(request, error, type_=type_, headers=every)
    page = error_page(request, error)
    page.headers.update(every)
    return page


def _is_for_programs(request: Request) -> bool:
    return request.url.path.startswith("/api")


def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, LabError)
    return render(request, error)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if _is_for_programs(request):
        return render(request, InvalidFields(field_errors(error.errors()), hint=_API_HINT))
    found = error.errors()
    # An id that is none, in the path or after it: a regular expression tells a person nothing.
    if any(one["loc"][0] == "path" or one["type"] == "string_pattern_mismatch" for one in found):
        return render(request, _NO_PAGE)
    return render(request, InvalidFields(field_errors(found), hint=_PAGE_HINT))


async def http(request: Request, error: Exception) -> Response:
    """The answer to errors of the framework itself: unknown paths, wrong methods, broken bodies."""
    assert isinstance(error, HTTPException)
    if error.status_code < 400:
        return await http_exception_handler(request, error)
    headers = dict(error.headers or {})
    if error.status_code == 413:
        return render(request, TooLarge(error.detail, hint="Send less."), headers)
    if error.status_code == 404 and not _is_for_programs(request):
        return render(request, _NO_PAGE, headers)
    hint = _HINTS.get(error.status_code, "") if _is_for_programs(request) else _PAGE_HINT
    plain = LabError(str(error.detail), hint=hint)
    plain.status = error.status_code
    plain.title = HTTPStatus(error.status_code).phrase
    return render(request, plain, headers, type_=PLAIN)


async def _gone(request: Request, error: Exception) -> Response:
    """Who sent half a body and left hears nothing, and it is no fault of the lab."""
    return Response(status_code=400)


def unexpected(request: Request, error: Exception) -> Response:
    """The answer to a fault of the lab: nothing about it but a number to find it in the log.

    A full disk and a database that is locked are none, and will pass.
    """
    if (known := trouble(error)) is not None:
        _LOG.warning("%s %s: %s", request.method, request.url.path, known)
        return render(request, Unavailable(known, hint="Try again later; /api/health says more."))
    incident = journal.request.get()
    _LOG.error("incident %s: %s %s", incident, request.method, request.url.path, exc_info=error)
    return render(
        request,
        LabError(
            "The lab met an error that it did not expect.",
            hint=f"Look for incident {incident} in the log of the web process.",
        ),
    )


def install(app: FastAPI) -> None:
    """Answer the errors that `app` expects."""
    app.add_exception_handler(LabError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(ClientDisconnect, _gone)
