"""Import a model: the form, the file, and what is wrong with either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData

from app.admission.routes import ByMethod, asks
from app.contracts.jobs import JobKind
from app.contracts.params import ImportModelParams
from app.contracts.params.model_import import OF_AN_ADDRESS
from app.deps import LabDep
from app.errors import InvalidInput, TooLarge
from app.services.lab import Lab
from app.web.forms.choices import Offer, offered_datasets
from app.web.forms.entries import Rejected, asked, posted_entries
from app.web.forms.form import FormView, form_of
from app.web.forms.specs import Choice
from app.web.pages.as_code import code_of_form
from app.web.pages.inputs import Posted
from app.web.pages.sent_files import (
    SentFile,
    file_to_name,
    names_an_address,
    sent_file,
    submit_with_file,
)
from app.web.pages.submitting import AgainFrom, Entries, prefilled
from app.web.render import Context, render


@dataclass(frozen=True)
class ImportModelContext(Context):
    """The form of a model's import."""

    template: ClassVar[str] = "import_model.html"

    form: FormView
    """Made from `ImportModelParams`, without file and classes."""
    asks_addresses: bool
    """Whether the operator lists any address."""
    lets_go: bool
    """Whether the browser has let go of a file that was chosen."""
    has_dataset: bool
    """Whether there is anything to check a model on."""
    classes: str
    """What was typed, one a line; outside text."""
    classes_error: str
    """What is wrong with it."""
    outputs: str
    """Numbers of outputs as they were typed; outside text."""
    outputs_error: str
    """What is wrong with them."""
    network: str
    """Which network of the file was typed; outside text."""
    network_error: str
    """What is wrong with it, or the question that the file raised."""
    networks: tuple[str, ...]
    """What there is to choose among, where an earlier import found several; outside text."""
    file_error: str
    """What is wrong with the file that was sent."""
    sent: SentFile | None
    """A file that is here already."""
    max_upload_mb: int
    """The largest file accepted."""


router = APIRouter(prefix="/models/import", route_class=ByMethod)

_OWN_FIELDS = ("upload", "classes", "outputs", "network")
"""Those that the template draws itself."""


@router.get("")
def page(lab: LabDep, request: Request, again: AgainFrom = None) -> Response:
    entries, job = prefilled(lab, request, JobKind.IMPORT_MODEL, ImportModelParams, again)
    failure = None if job is None else job.failure
    if failure is None or failure.field is None:
        return render(request, _context(lab, entries))
    if failure.field == "classes" and failure.choices:
        entries["classes"] = failure.choices
    networks = failure.choices if failure.field == "network" else ()
    messages = {failure.field: f"{failure.detail} {failure.hint}".strip()}
    return render(request, _context(lab, entries, messages, networks=networks, asks=True))


@router.post("")
def start(lab: LabDep, request: Request, posted: Posted) -> Response:
    """To the job that was started, or to the same form with what is wrong."""
    entries = _entries(posted)
    try:
        job = submit_with_file(
            lab, JobKind.IMPORT_MODEL, ImportModelParams, posted.get("file"), entries
        )
    except Rejected as rejected:
        typed = {**entries, **rejected.sent}
        return render(request, _context(lab, typed, rejected.messages), status=422)
    except (InvalidInput, TooLarge) as error:
        errors = {"file": f"{error.detail} {error.hint}".strip()}
        return render(request, _context(lab, entries, errors), status=error.status)
    return RedirectResponse(f"/jobs/{job.id}", status_code=303)


@router.post("/code")
@asks
def code(lab: LabDep, request: Request, posted: Posted) -> Response:
    """The fragment with what starts the job of the form from elsewhere."""
    entries = _entries(posted)
    file = file_to_name(lab, posted, entries, "model.safetensors")
    return code_of_form(request, JobKind.IMPORT_MODEL, entries, file)


def _entries(posted: FormData) -> Entries:
    """What was typed; the classes one a line."""
    entries = posted_entries(ImportModelParams, posted)
    lines = [line.strip() for text in entries.pop("classes", ()) for line in text.splitlines()]
    classes = tuple(line for line in lines if line)
    return entries | ({"classes": classes} if classes else {})


def _context(
    lab: Lab,
    entries: Entries,
    errors: Mapping[str, str] | None = None,
    *,
    networks: tuple[str, ...] = (),
    asks: bool = False,
) -> ImportModelContext:
    """`asks`: whether the errors are what an earlier job asked, and not of what was sent now."""
    messages = dict(errors or {})
    own = {field: messages.pop(field, "") for field in ("file", *_OWN_FIELDS)}
    datasets = offered_datasets(lab, *asked(entries, "dataset"))
    listed = lab.settings.endpoints
    addresses = Offer(tuple(Choice(address, address) for address in listed))
    form = form_of(
        ImportModelParams,
        entries=entries,
        offers={"dataset": datasets, "address": addresses},
        errors=messages,
        without=_OWN_FIELDS if listed else (*_OWN_FIELDS, "address", *OF_AN_ADDRESS),
        wrong_beside=any(own.values()) and not asks,
    )
    return ImportModelContext(
        form=form,
        has_dataset=bool(datasets.choices),
        asks_addresses=bool(listed),
        lets_go=form.has_errors and not names_an_address(entries),
        classes="\n".join(entries.get("classes", ())),
        classes_error=own["classes"],
        outputs=", ".join(entries.get("outputs", ())),
        outputs_error=own["outputs"],
        network=next(iter(entries.get("network", ())), ""),
        network_error=own["network"],
        networks=networks,
        file_error=own["file"] or own["upload"],
        sent=None if names_an_address(entries) else sent_file(lab, entries),
        max_upload_mb=lab.settings.max_upload_mb,
    )
