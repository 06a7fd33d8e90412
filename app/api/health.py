"""Whether the lab works."""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.contracts.views import Health
from app.deps import LabDep
from app.services import upkeep

router = APIRouter(tags=["health"])


@router.get("/health", responses={503: {"model": Health}})
def health(lab: LabDep, response: Response) -> Health:
    """Database, broker, and each queue's workers and jobs.

    503 when the database does not answer: then this process can do nothing. 200 otherwise: without
    a broker or a worker jobs are still taken and kept, and `ok` says that they will wait.
    """
    state = upkeep.health(lab)
    if not state.database:
        response.status_code = 503
    return state
