"""Whether the lab works."""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.admission.routes import ByMethod, Public
from app.contracts.views import Health
from app.deps import LabDep
from app.services import upkeep

alive = APIRouter(tags=["health"], route_class=Public)
"""What anybody may know."""
router = APIRouter(tags=["health"], route_class=ByMethod)


@alive.get("/alive", status_code=204)
def is_alive() -> None:
    """Whether this process answers; to everybody, and nothing else."""


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
