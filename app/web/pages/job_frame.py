"""What the pages of all jobs share: the record of a kind, and the frame of its page.

The templates `job_*.html` extend `job.html`, the frame; each belongs to the file of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from app.contracts.jobs import JobStatus
from app.contracts.results.base import Result
from app.contracts.stored import UNREAD_PARAMS
from app.contracts.views import JobView
from app.errors import Conflict, NotFound
from app.services import jobs
from app.services.lab import Lab
from app.web.charts.base import Figure
from app.web.charts.reported import Run
from app.web.forms.readable import RowGroup
from app.web.pages.job_params import asked_for
from app.web.render import Context

R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class JobContext(Context):
    """What the page of every job has."""

    job: JobView
    """In any state."""
    params: tuple[RowGroup, ...]
    """What was asked for."""
    again: str
    """Address of a form filled with the same parameters; empty for kinds without a form."""
    unread: tuple[str, ...]
    """What of it cannot be read any more, in sentences."""


@dataclass(frozen=True)
class Way:
    """How programs start jobs of one kind."""

    path: str
    method: str
    """Of the client."""
    file: str = ""
    """The form's field for a file; empty where jobs are sent as JSON."""
    told_by_file: str = ""
    """A parameter that a file says by itself; without a file it is always said."""
    flat: str = ""
    """A group of parameters whose members the form has beside the others."""
    by_name: str = ""
    """A parameter within a group that the client's method asks for by name."""


def _no_figures(lab: Lab, job: JobView, runs: Sequence[Run]) -> dict[str, Figure]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of job."""

    noun: str
    """What such a job does."""
    page: Callable[[Lab, JobView], JobContext]
    """All that its page shows."""
    way: Way
    figures: Callable[[Lab, JobView, Sequence[Run]], dict[str, Figure]] = _no_figures
    """Charts of what the job and the runs before it reported so far, by name: those that the page
    itself lacks."""
    form: str = ""
    """Address of the form of such jobs; empty where scripts or other pages submit them."""
    compare: str = ""
    """Address of the page that lays several side by side; empty where there is none."""
    checkpoints: bool = False
    """Whether one that ends early leaves something to go on from."""
    once: bool = False
    """Whether one that succeeded is not worth running again."""
    pins: bool = False
    """Whether one can be pinned to the first page."""


def frame(lab: Lab, job: JobView, kind: Kind) -> dict[str, Any]:
    """The fields of every kind's context."""
    asked = asked_for(lab, job)
    form = "" if kind.once and job.status is JobStatus.SUCCEEDED else kind.form
    return {
        "job": job,
        "params": asked.rows,
        "again": f"{form}?from={job.id}" if form else "",
        "unread": (UNREAD_PARAMS,) if asked.params is None else (),
    }


def opened(lab: Lab, job: JobView, kind: Kind, left: type[R]) -> tuple[R | None, dict[str, Any]]:
    """What the job left, where there is something that is read, and the frame."""
    framed = frame(lab, job, kind)
    if not job.has_result:
        return None, framed
    try:
        result = jobs.result_of(lab, job)
    except (Conflict, NotFound) as error:
        said = f"{error.detail} {error.hint}".strip()
        return None, {**framed, "unread": (*framed["unread"], said)}
    assert isinstance(result, left)
    return result, framed
