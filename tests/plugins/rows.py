"""Rows of jobs for tests of the store."""

from __future__ import annotations

import time
import uuid
from typing import Any

from app.contracts.jobs import JobKind, JobStatus, Queue
from app.contracts.placement import Offer
from app.settings import RELEASE
from app.store.tables import JobRow


def job_row(**values: Any) -> JobRow:
    """A queued job that nobody has seen yet."""
    defaults: dict[str, Any] = {
        "id": uuid.uuid4().hex,
        "kind": JobKind.TRAIN,
        "status": JobStatus.QUEUED,
        "queue": Queue.TRAIN,
        "title": "Train",
        "params": {},
        "created_at": time.time(),
        "attempt": 0,
        "fence": 0,
        "cancel_requested": False,
        "last_event": 0,
    }
    return JobRow(**{**defaults, **values})


WORKER = Offer(name="train@here", release=RELEASE)
"""A worker without a GPU."""
