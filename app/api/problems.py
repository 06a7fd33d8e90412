"""An error as the API answers it: RFC 9457 problem details, with a hint on what to do."""

from __future__ import annotations

import re

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse

from app.errors import InvalidFields, LabError

PLAIN = "about:blank"
"""The type of a problem that its HTTP status says all about."""


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


def problem(
    request: Request,
    error: LabError,
    *,
    type_: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """The answer to a request that met an error; `type_` is by default its class's own."""
    body = Problem(
        type=type_ or _type_of(error),
        title=error.title,
        status=error.status,
        detail=error.detail,
        hint=error.hint,
        instance=request.url.path,
        errors=[FieldProblem(field=field, message=message) for field, message in _inputs(error)],
    )
    return JSONResponse(
        body.model_dump(),
        status_code=error.status,
        headers=headers,
        media_type="application/problem+json",
    )


def _type_of(error: LabError) -> str:
    kind = re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
    return f"urn:agkd-bml-lab:problem:{kind}"


def _inputs(error: LabError) -> list[tuple[str, str]]:
    """Pairs of field and message of the wrong inputs."""
    if isinstance(error, InvalidFields):
        return list(error.errors)
    return [] if error.field is None else [(error.field, error.detail)]
