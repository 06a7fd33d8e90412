"""Errors that a user can act on. Raised anywhere, rendered once (`app.main`).

Under /api they become RFC 9457 problem details, elsewhere a page.
"""

from __future__ import annotations


class LabError(Exception):
    """An error with its HTTP status, a title, what happened, and what to do about it.

    `field` names the offending input where there is one.
    """

    status = 500
    title = "Something went wrong in the lab"

    def __init__(self, detail: str, *, hint: str = "", field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.field = field


class InvalidInput(LabError):
    """Well-formed, but not acceptable: an unknown dataset, a teacher of other classes."""

    status = 422
    title = "The input is not valid"


class NotFound(LabError):
    status = 404
    title = "Not found"


class Conflict(LabError):
    """The request does not fit the present state: deleting a model in use, for example."""

    status = 409
    title = "Conflict with the present state"


class TooLarge(LabError):
    status = 413
    title = "Too large"


class UnsupportedMedia(LabError):
    status = 415
    title = "Not a supported file"


class Unavailable(LabError):
    """Something that the lab needs does not answer: the broker, the database, the disk."""

    status = 503
    title = "Not available now"


class JobError(LabError):
    """A job cannot go on, for a reason the user can act on. Ends the job as failed."""

    status = 422
    title = "The job failed"
