"""Errors that a user can act on. Raised anywhere, rendered once (`app.error_handlers`).

Under /api they become RFC 9457 problem details, elsewhere a page.
"""

from __future__ import annotations

import copyreg
import errno
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import ValidationError

from app.contracts.complaints import message_of

_ENVELOPE = {"body", "query", "path", "header", "cookie", "params"}
"""Parts of an error's location that say where an input travelled, not which one it is."""


def field_errors(errors: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Pairs of field and message of pydantic's errors.

    A rule over several fields names the one to change (`app.contracts.complaints.invalid`).
    """
    return [(_field(error), message_of(error)) for error in errors]


def _field(error: Mapping[str, Any]) -> str:
    if error["type"] == "invalid":
        return str(error["ctx"]["field"])
    if error["type"] == "json_invalid":
        return "body"
    path = list(error["loc"])
    if error["type"].startswith("union_tag_"):
        path.append(error["ctx"]["discriminator"].strip("'"))
    while len(path) > 1 and path[0] in _ENVELOPE:
        del path[0]
    return ".".join(str(part) for part in path) or "body"


_FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})
_LOCKED = "The database is locked by another process."
_OF_SQLITE = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_FULL: "The disk is full.",
    sqlite3.SQLITE_IOERR: "The disk does not take or give what the database asks for.",
}
_OF_POSTGRESQL = {
    "25006": "The database takes no writes at present.",
    "25P03": "The database waited too long for this process, and went on without it.",
    "40001": "Others were changing the same at that moment.",
    "40P01": "Others were changing the same at that moment.",
    "53100": "The disk of the database is full.",
    "53300": "The database takes no more connections.",
    "55P03": _LOCKED,
}
"""By SQLSTATE, so that nobody has to have its driver."""
_AWAY = frozenset({"OperationalError", "TimeoutError"})
"""SQLAlchemy's errors that are not a statement's own fault: no connection, or none in time."""


def trouble(error: BaseException) -> str | None:
    """What disk, database or storage are short of for a while, in words; None for other errors.

    The same may succeed later, and nothing is wrong with what was asked for.
    """
    if isinstance(error, StorageAway):
        return error.detail
    if isinstance(error, OSError):
        return "The disk is full." if error.errno in _FULL_DISK else None
    cause = getattr(error, "orig", None)  # SQLAlchemy's
    if isinstance(cause, sqlite3.Error):
        return _OF_SQLITE.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF)
    if (known := _OF_POSTGRESQL.get(getattr(cause, "sqlstate", None) or "")) is not None:
        return known
    kind = type(error)
    away = kind.__module__ == "sqlalchemy.exc" and kind.__name__ in _AWAY
    return "The database does not answer." if away else None


class LabError(Exception):
    """An error with its HTTP status, a title, what happened, and what to do about it.

    `field` names the offending input where there is one.
    """

    status = 500
    title = "Something went wrong in the lab"
    retry_after_s: int | None = None
    """After how many seconds the same request may succeed; None where that is not known."""

    def __init__(self, detail: str, *, hint: str = "", field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.field = field

    def __reduce__(self) -> tuple[Any, ...]:
        """By what it holds: classes of errors are made of different arguments."""
        made = copyreg.__newobj__  # type: ignore[attr-defined]  # which readers need not name
        return made, (type(self), *self.args), self.__dict__

    def as_failure(self) -> dict[str, Any]:
        """What a job that failed of it keeps in its row."""
        return {"title": self.title, "detail": self.detail, "hint": self.hint}


class InvalidInput(LabError):
    """Well-formed, but not acceptable: an unknown dataset, a teacher of other classes."""

    status = 422
    title = "The input is not valid"


class InvalidFields(InvalidInput):
    """Several inputs are wrong at once; `errors` are pairs of field and message."""

    def __init__(self, errors: Sequence[tuple[str, str]], *, hint: str = "") -> None:
        super().__init__("; ".join(f"{field}: {message}" for field, message in errors), hint=hint)
        self.errors = tuple(errors)

    @classmethod
    def of(cls, error: ValidationError) -> Self:
        """From the validation of parameters that came from outside."""
        return cls(field_errors(error.errors()))


class Unauthenticated(LabError):
    """Nobody has said who asks. `complaint` tells a person what was wrong with what they said."""

    status = 401
    title = "Sign in"

    def __init__(self, complaint: str = "") -> None:
        super().__init__(
            complaint or "The lab asks who you are.",
            hint="Programs send a token as `Authorization: Bearer …`; the client takes it from "
            "LAB_TOKEN. The lab's own lies in the file `token` of its data folder; where there are "
            "accounts, the page of yours makes one.",
        )
        self.complaint = complaint


class Forbidden(LabError):
    status = 403
    title = "Refused"


class NotFound(LabError):
    status = 404
    title = "Not found"


class Conflict(LabError):
    """The request does not fit the present state: deleting a model in use, for example."""

    status = 409
    title = "Conflict with the present state"


class LengthRequired(LabError):
    status = 411
    title = "Of unknown length"


class TooLarge(LabError):
    status = 413
    title = "Too large"


class TooMany(LabError):
    """More than the lab takes at a time."""

    status = 429
    title = "Too many at once"
    retry_after_s = 60


class OverQuota(LabError):
    """An account has no room left on the lab's disk."""

    status = 507
    title = "No room left for you"
    retry_after_s = 3600


class Misdirected(LabError):
    """The request was meant for another host name."""

    status = 421
    title = "Not a name of this lab"


class UnsupportedMedia(LabError):
    status = 415
    title = "Not a supported file"


class Unavailable(LabError):
    """Something that the lab needs does not answer: the broker, the database, the disk."""

    status = 503
    title = "Not available now"
    retry_after_s = 5


class StorageAway(Unavailable):
    """What keeps the files of a lab of several machines does not answer, or refuses."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, hint="Try again later. Who runs the lab sees more in /api/health.")


class WrongSchema(Unavailable):
    """The database is of another version of the lab, and the two do not work together."""


class Damaged(LabError):
    """A file is not the one that was stored."""

    title = "A stored file is damaged"


class JobError(LabError):
    """A job cannot go on, for a reason the user can act on. Ends the job as failed.

    `choices`: what the parameter `field` may be, where the job found that it has to be chosen.
    """

    status = 422
    title = "The job failed"

    def __init__(
        self, detail: str, *, hint: str = "", field: str | None = None, choices: Sequence[str] = ()
    ) -> None:
        super().__init__(detail, hint=hint, field=field)
        self.choices = tuple(choices)

    def as_failure(self) -> dict[str, Any]:
        asked = {} if self.field is None else {"field": self.field, "choices": list(self.choices)}
        return {**super().as_failure(), **asked}
