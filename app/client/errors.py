"""What can go wrong between a program and the lab, as one exception."""

from __future__ import annotations

from pathlib import Path

import httpx
from pydantic import BaseModel, ValidationError


class LabError(Exception):
    """The lab refused, failed at, or never got what it was asked for.

    Attributes:
        title: The kind of problem, in a few words.
        detail: What happened.
        hint: What to do about it; may be empty.
        field: The first input that is wrong, where inputs are.
        status: The HTTP status; None where no answer came, or none was asked for.
    """

    def __init__(
        self,
        title: str,
        detail: str,
        *,
        hint: str = "",
        field: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(f"{detail} {hint}".strip())
        self.title = title
        self.detail = detail
        self.hint = hint
        self.field = field
        self.status = status


class _Wrong(BaseModel):
    field: str


class _Problem(BaseModel):
    """The part of the lab's problem details (RFC 9457) that people read."""

    title: str
    detail: str
    hint: str = ""
    errors: tuple[_Wrong, ...] = ()


def refused(answer: httpx.Response) -> LabError:
    """The error that an answer speaks of. Its body has to be read before."""
    try:
        problem = _Problem.model_validate_json(answer.content)
    except ValidationError:
        return LabError(
            answer.reason_phrase or "An error",
            f"{answer.request.url} answered with status {answer.status_code}.",
            hint="Is this the address of a lab?",
            status=answer.status_code,
        )
    return LabError(
        problem.title,
        problem.detail,
        hint=problem.hint,
        field=problem.errors[0].field if problem.errors else None,
        status=answer.status_code,
    )


def unreachable(url: str, cause: httpx.TransportError) -> LabError:
    """No answer came, or not all of it."""
    return LabError(
        "The lab does not answer",
        f"No answer from {url}: {str(cause) or type(cause).__name__}.",
        hint="Is the lab running, and is this its address?",
    )


def unreadable(file: str | Path, error: OSError | ValueError) -> LabError:
    """A file of this machine is not there, or not JSON where it should be."""
    reason = error.strerror if isinstance(error, OSError) else f"it is not JSON ({error})"
    return LabError("The file cannot be read", f"{file}: {reason}.", field="file")


def unwritable(file: str | Path, error: OSError) -> LabError:
    """A file cannot be put where it was asked for."""
    return LabError("The file cannot be written", f"{file}: {error.strerror}.", field="path")


def write(file: Path, content: bytes) -> None:
    """Write a file of this machine. Raises LabError."""
    try:
        file.write_bytes(content)
    except OSError as error:
        raise unwritable(file, error) from error


def not_understood(what: str) -> LabError:
    """An answer came, and it is not what the contracts say."""
    return LabError(
        "The answer is not understood",
        f"What the lab says of {what} does not have the form that this client expects.",
        hint="Use a client of the lab's own version.",
    )
