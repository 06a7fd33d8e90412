"""Who runs the lab's jobs, and who takes no new one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fastapi import APIRouter, Path, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from app.admission.routes import ByMethod, ForAdmins
from app.contracts.jobs import Queue
from app.contracts.placement import WORKER
from app.contracts.views import QueueHealth, WorkerView
from app.deps import LabDep
from app.services import workers as service
from app.services.lab import Lab
from app.web.render import Context, render


@dataclass(frozen=True)
class WorkersContext(Context):
    """All workers, a row each."""

    template: ClassVar[str] = "workers.html"

    workers: tuple[WorkerView, ...]
    """By name."""
    broker: bool
    """Whether the broker answers, by which they are known."""
    queues: tuple[QueueHealth, ...]
    """What waits and runs."""
    unserved: tuple[tuple[Queue, str], ...]
    """Queues that have no worker, and the command of one."""


@dataclass(frozen=True)
class WorkerRowsContext(WorkersContext):
    """The same without the page around it, which fetches it anew."""

    template: ClassVar[str] = "_workers.html"


router = APIRouter(prefix="/workers", route_class=ByMethod)
for_admins = APIRouter(prefix="/workers", route_class=ForAdmins)
WorkerPath = Annotated[str, Path(pattern=WORKER)]
_COMMAND = (
    "python -m celery -A worker.celery_app:app -q worker -Q {0} -n {0}@%h -c 1 "
    "--prefetch-multiplier 1 {1}--without-gossip --without-mingle --loglevel WARNING"
)
"""Of a worker, as `app.run.supervisor` starts it."""


def _command(queue: Queue) -> str:
    afresh = "" if queue is Queue.LIVE else "--max-tasks-per-child 1 "
    return _COMMAND.format(queue, afresh)


@router.get("")
def page(lab: LabDep, request: Request) -> Response:
    return render(request, WorkersContext(*_facts(lab)))


@router.get("/rows")
def rows(lab: LabDep, request: Request) -> Response:
    """The fragment that keeps the page up to date."""
    return render(request, WorkerRowsContext(*_facts(lab)))


def _facts(
    lab: Lab,
) -> tuple[tuple[WorkerView, ...], bool, tuple[QueueHealth, ...], tuple[tuple[Queue, str], ...]]:
    found, queues = service.with_queues(lab)
    unserved = tuple((each.queue, _command(each.queue)) for each in queues if not each.workers)
    return found.items, found.broker, queues, unserved


@for_admins.post("/{name}/drain")
def drain(lab: LabDep, name: WorkerPath) -> Response:
    service.drain(lab, name)
    return RedirectResponse("/workers", status_code=303)


@for_admins.post("/{name}/resume")
def resume(lab: LabDep, name: WorkerPath) -> Response:
    service.resume(lab, name)
    return RedirectResponse("/workers", status_code=303)
