"""One job: its state, what it was asked, what it reported and what it left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from app.admission.routes import ByMethod
from app.contracts.changes import JobChanges
from app.contracts.views import JobView
from app.deps import LabDep
from app.services import job_changes, jobs, trainings
from app.web.charts.reported import readings
from app.web.pages.inputs import IdPath, Posted
from app.web.pages.keeping import changes
from app.web.pages.kinds import KINDS
from app.web.render import Context, render


@dataclass(frozen=True)
class JobStateContext(Context):
    """One job's state, as the first page and the job's own show it."""

    template: ClassVar[str] = "_job.html"

    job: JobView
    """In any state."""


router = APIRouter(prefix="/jobs", route_class=ByMethod)


@router.get("/{job_id}")
def page(lab: LabDep, request: Request, job_id: IdPath) -> Response:
    job = jobs.get(lab, job_id)
    return render(request, KINDS[job.kind].page(lab, job))


@router.get("/{job_id}/state")
def state(lab: LabDep, request: Request, job_id: IdPath) -> Response:
    """The fragment that shows the state; pages fetch it while the job is unfinished."""
    return render(request, JobStateContext(job=jobs.get(lab, job_id)))


@router.get("/{job_id}/record.json")
def record(lab: LabDep, job_id: IdPath) -> Response:
    """What the job reported so far: figures, readings, log, and the number of the last event.

    The figures of a continued training are of all of its runs.

    The stream of events goes on from there. Figures that come with the page are left out.
    """
    job = jobs.get(lab, job_id)
    events = jobs.charts_and_log(lab, job_id)
    before = [run.events for run in trainings.earlier(lab, job)]
    runs = [[(event.at, event.body) for event in run] for run in (*before, events)]
    log = [
        {"at": event.at, "level": event.body["level"], "text": event.body["text"]}
        for event in events
        if event.body["type"] == "log"
    ]
    return JSONResponse(
        {
            "seq": events[-1].seq if events else 0,
            "figures": KINDS[job.kind].figures(lab, job, runs),
            "readings": readings([event.body for event in events]),
            "log": log,
        }
    )


@router.post("/{job_id}/change")
def change(lab: LabDep, job_id: IdPath, posted: Posted) -> Response:
    job_changes.change(lab, [job_id], changes(posted, JobChanges))
    return RedirectResponse(f"/jobs/{job_id}", status_code=303)


@router.post("/{job_id}/delete")
def delete(lab: LabDep, job_id: IdPath) -> Response:
    when = job_changes.delete(lab, job_id)
    return RedirectResponse(f"/jobs?undo={when!r}", status_code=303)


@router.post("/{job_id}/cancel")
def cancel(lab: LabDep, job_id: IdPath) -> Response:
    jobs.cancel(lab, job_id)
    return RedirectResponse(f"/jobs/{job_id}", status_code=303)
