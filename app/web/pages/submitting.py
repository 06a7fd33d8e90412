"""What the forms of new jobs share: they lose nothing of what was typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeVar

from fastapi import Query, Request
from fastapi.responses import RedirectResponse, Response

from app.contracts.jobs import JobKind
from app.contracts.params import Params
from app.contracts.placement import Priority
from app.contracts.views import Estimate, JobView
from app.errors import InvalidInput
from app.services import estimates, jobs
from app.services.lab import Lab
from app.web.forms import entries as typed
from app.web.render import Context, render

Entries = Mapping[str, Sequence[str]]
Messages = Mapping[str, str]
AgainFrom = Annotated[str | None, Query(alias="from", pattern=r"^[0-9a-f]{32}$")]
P = TypeVar("P", bound=Params)
_PRIORITY = "priority"
"""The one entry of these forms that is no parameter: it says when, and nothing of what."""


def with_priority(entries: Entries, posted: typed.Posted) -> dict[str, Sequence[str]]:
    """What was typed, and the priority where any was chosen."""
    chosen = [one for one in posted.getlist(_PRIORITY) if isinstance(one, str)]
    return {**entries, **({_PRIORITY: chosen} if chosen else {})}


def priority_of(entries: Entries) -> Priority:
    """The one that was chosen. Raises Rejected where it is none."""
    chosen = next(iter(entries.get(_PRIORITY, ())), Priority.NORMAL)
    try:
        return Priority(chosen)
    except ValueError:
        raise typed.Rejected({"": "The priority is none of the choices."}) from None


def shown_priority(entries: Entries) -> str:
    """What the form shows as chosen; outside text."""
    return next(iter(entries.get(_PRIORITY, ())), Priority.NORMAL.value)


def submit(
    lab: Lab, kind: JobKind, params: type[P], entries: Entries, *, name: str = ""
) -> JobView:
    """Start the job that was typed. Raises Rejected with a message for each wrong field."""
    values = typed.read(params, entries)
    try:
        return jobs.submit(lab, kind, values, name=name, priority=priority_of(entries))
    except InvalidInput as error:
        raise typed.rejected_by_service(params, error) from None


def prefilled(
    lab: Lab, request: Request, kind: JobKind, params: type[P], again: str | None
) -> tuple[dict[str, Sequence[str]], JobView | None]:
    """Entries from an earlier job, then from the address; and that job."""
    entries: dict[str, tuple[str, ...]] = {}
    job = None
    if again is not None:
        job = jobs.get(lab, again)
        if job.kind is not kind:
            raise InvalidInput(
                f"That is no {kind} job.", hint="Open the job and choose “Run again” there."
            )
        entries = typed.entries_of(params, job.params)
    asked = request.query_params
    return with_priority(entries | typed.posted_entries(params, asked), asked), job


def started(
    lab: Lab,
    request: Request,
    kind: JobKind,
    params: type[P],
    entries: Entries,
    page: Callable[[Lab, Entries, JobView | None, Messages], Context],
) -> Response:
    """To the job that was typed, or to the same form with what is wrong."""
    try:
        job = submit(lab, kind, params, entries)
    except typed.Rejected as rejected:
        return render(request, page(lab, entries, None, rejected.messages), status=422)
    return RedirectResponse(f"/jobs/{job.id}", status_code=303)


@dataclass(frozen=True)
class EstimateContext(Context):
    """How long what is typed would take."""

    template: ClassVar[str] = "_expected.html"

    estimate: Estimate | None
    """None where nothing like it has run here."""
    complete: bool
    """Whether what is typed is enough to look."""


def estimated(lab: Lab, request: Request, params: type[P], entries: Entries) -> Response:
    """The fragment that says so while a form is filled in."""
    if "name" in params.model_fields and not any(entries.get("name", ())):
        entries = {**entries, "name": ("Unnamed",)}
    try:
        values = typed.read(params, entries)
    except typed.Rejected:
        return render(request, EstimateContext(estimate=None, complete=False))
    found = estimates.estimate(lab, values)
    return render(request, EstimateContext(estimate=found, complete=True))


def kept(entries: Entries, names: Sequence[str]) -> Entries:
    """Of what is typed, what no preset says."""
    return {name: entries[name] for name in names if name in entries}
