"""All jobs in one table: sorted, searched, filtered, and many of them changed at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import field_validator

from app.admission.routes import ByMethod
from app.contracts.jobs import JobKind, JobStatus
from app.contracts.listings import JobFilter, JobOrder
from app.contracts.params import Id, Method
from app.deps import LabDep
from app.errors import InvalidInput, LabError
from app.services import job_changes, jobs, listings
from app.services.lab import Lab
from app.services.listings import JobLine
from app.web.pages import table_actions, tables
from app.web.pages.inputs import Posted
from app.web.pages.kinds import KINDS
from app.web.pages.tables import Column, TableView
from app.web.render import Context

PATH = "/jobs"
COLUMNS = (
    Column("kind", "Kind"),
    Column("state", "State"),
    Column("dataset", "Dataset"),
    Column("recipe", "Recipe", shown=False),
    Column("epochs", "Epochs", numeric=True, shown=False),
    Column("clean", "Clean", numeric=True),
    Column("robust", "Robust", numeric=True),
    Column("autoattack", Method.AUTOATTACK.record.title, numeric=True),
    Column("time", "Took", numeric=True),
    Column("created", "Submitted"),
)


class JobQuery(tables.Query):
    """What an address says about the table of jobs."""

    kind: JobKind | None = None
    status: JobStatus | None = None
    sort: JobOrder = JobOrder.CREATED

    @field_validator("dataset")
    @classmethod
    def _is_an_id(cls, value: str) -> str:
        if value and len(value) != 32:
            raise ValueError("is no dataset")
        return value

    @property
    def filter(self) -> JobFilter:
        return JobFilter(
            text=self.q,
            kind=self.kind,
            status=self.status,
            tag=self.tag or "",
            owner=self.owner,
            dataset=self.dataset,
            recipe=self.recipe,
            shelf=self.shelf,
            order=self.sort,
            falling=self.order == "desc",
        )


@dataclass(frozen=True)
class JobTableContext(Context):
    """A page of jobs."""

    template: ClassVar[str] = "jobs.html"

    table: TableView
    """How it is sorted and filtered."""
    lines: tuple[JobLine, ...]
    """Its rows."""
    unfinished: bool
    """Whether one of them still changes."""


router = APIRouter(prefix=PATH, route_class=ByMethod)


@router.get("")
def all_jobs(lab: LabDep, request: Request) -> Response:
    return _page(lab, request, JobQuery.of(request))


def _page(
    lab: Lab,
    request: Request,
    query: JobQuery,
    *,
    refused: LabError | None = None,
    kept: Sequence[str] = (),
) -> Response:
    found = listings.job_lines(lab, query.filter, page=query.page, page_size=tables.PAGE_SIZE)
    filters = (
        tables.one_of("kind", "Kind", [(k, KINDS[k].noun) for k in JobKind], query.kind),
        tables.one_of("status", "State", [(s, s) for s in JobStatus], query.status),
    )
    view = tables.table_view(
        PATH,
        query,
        query.sort,
        columns=COLUMNS,
        filters=filters,
        found=found,
        choices=listings.job_choices(lab),
        refused=refused,
        kept=kept,
    )
    context = JobTableContext(
        table=view,
        lines=found.items,
        unfinished=any(not line.job.status.is_final for line in found.items),
    )
    return tables.answer(request, context, view, refused)


@router.post("/selected")
def selected(lab: LabDep, request: Request, posted: Posted) -> Response:
    """Do one thing with the chosen jobs, and go back to the view that they were chosen in."""
    query = JobQuery.read(parse_qsl(str(posted.get("back", ""))))
    try:
        undo = table_actions.act(
            lab, table_actions.chosen(posted, "job"), job_changes, cancel=job_changes.cancel_all
        )
    except LabError as refused:
        kept = [str(one) for one in posted.getlist("job")]
        return _page(lab, request, query, refused=refused, kept=kept)
    return table_actions.back_to(query, PATH, undo=undo)


@router.post("/undo")
def undo(lab: LabDep, posted: Posted) -> Response:
    """Take out of the bin or the archive what was just moved there."""
    query = JobQuery.read(table_actions.with_time(posted))
    if query.undo is not None:
        job_changes.undo(lab, query.undo)
    return table_actions.back_to(query, PATH)


@router.get("/compare")
def compare(
    lab: LabDep,
    request: Request,
    job: Annotated[list[Id] | None, Query(max_length=tables.MOST_CHOSEN)] = None,
    back: str = "",
) -> Response:
    """To the comparison of the chosen jobs: evaluations, or trainings; or back to the view that
    they were chosen in, with why they cannot be compared.
    """
    chosen = list(dict.fromkeys(job or []))
    try:
        page = _page_that_compares(lab, chosen)
    except LabError as refused:
        query = JobQuery.read(parse_qsl(back))
        return _page(lab, request, query, refused=refused, kept=chosen)
    return RedirectResponse(f"{page}?{urlencode({'job': chosen}, doseq=True)}", status_code=303)


def _page_that_compares(lab: Lab, chosen: Sequence[str]) -> str:
    kinds = {view.kind for view in jobs.several(lab, chosen)}
    pages = {kind: shown.compare for kind, shown in KINDS.items() if shown.compare}
    if len(kinds) != 1 or not kinds <= pages.keys():
        raise InvalidInput(
            "Only evaluations can be compared with evaluations, and trainings with trainings.",
            hint="Choose jobs of one of these kinds.",
        )
    return pages[kinds.pop()]
