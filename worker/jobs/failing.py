"""Why a job failed."""

from __future__ import annotations

import logging
import sys

from sqlalchemy.exc import IntegrityError

from app.errors import JobError, LabError

_log = logging.getLogger(__name__)


def explained(error: Exception, what: str) -> dict[str, str]:
    """Say it in words that a user can act on; what nobody foresaw goes to the worker's log.

    `what` failed.
    """
    torch = sys.modules.get("torch")  # where it was not needed, it is not asked for
    if isinstance(error, LabError):
        known = error
    elif isinstance(error, MemoryError) or (torch and isinstance(error, torch.OutOfMemoryError)):
        known = JobError(
            "The memory of the device is not enough.", hint="Use a smaller batch size."
        )
    elif isinstance(error, IntegrityError):
        known = JobError(
            "The name was taken while the job ran.", hint="Submit it again under another name."
        )
    else:
        _log.error("%s failed", what, exc_info=error)
        known = JobError(
            f"An unexpected error: {type(error).__name__}: {error}"[:500],
            hint="The worker's log has the details.",
        )
    return known.as_failure()
