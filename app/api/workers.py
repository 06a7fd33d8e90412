"""Workers: who there is, and who takes no new job."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from app.admission.routes import ByMethod, ForAdmins
from app.contracts.placement import WORKER
from app.contracts.views import Workers, WorkerView
from app.deps import LabDep
from app.services import workers

router = APIRouter(prefix="/workers", tags=["workers"], route_class=ByMethod)
for_admins = APIRouter(prefix="/workers", tags=["workers"], route_class=ForAdmins)
WorkerPath = Annotated[str, Path(pattern=WORKER, description="What the worker is called")]


@router.get("")
def all_workers(lab: LabDep) -> Workers:
    """Workers with what they have, what they run, and when they were last heard of."""
    return workers.listed(lab)


@for_admins.post("/{name}/drain")
def drain(lab: LabDep, name: WorkerPath) -> WorkerView:
    """Let a worker finish its job and take no other one, until it is resumed. For admins."""
    return workers.drain(lab, name)


@for_admins.post("/{name}/resume")
def resume(lab: LabDep, name: WorkerPath) -> WorkerView:
    """Let a drained worker take jobs again. For admins."""
    return workers.resume(lab, name)
