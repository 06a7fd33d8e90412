"""New training jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.admission.routes import ByMethod, asks
from app.contracts.access import Need
from app.contracts.jobs import JobKind
from app.contracts.params import TrainParams
from app.contracts.views import JobView
from app.deps import LabDep
from app.services.lab import Lab
from app.web.forms import entries as typed
from app.web.forms import presets
from app.web.forms.choices import known_models, offered_datasets, resumable_jobs
from app.web.forms.form import FormView, form_of
from app.web.forms.presets import PresetLink
from app.web.pages.as_code import code_of_form
from app.web.pages.inputs import Posted
from app.web.pages.submitting import (
    AgainFrom,
    Entries,
    Messages,
    estimated,
    kept,
    prefilled,
    shown_priority,
    started,
    with_priority,
)
from app.web.render import Context, render


@dataclass(frozen=True)
class TrainContext(Context):
    """The form of a new training job."""

    template: ClassVar[str] = "train.html"

    form: FormView
    """Made from `TrainParams`."""
    has_dataset: bool
    """Whether there is anything to train on."""
    presets: tuple[PresetLink, ...]
    """Ways to fill the form."""
    again: JobView | None
    """The job whose parameters fill the form."""
    priority: str
    """Before which others it is to run; outside text."""


router = APIRouter(route_class=ByMethod)


@router.get("/train")
def train(lab: LabDep, request: Request, again: AgainFrom = None) -> Response:
    entries, job = prefilled(lab, request, JobKind.TRAIN, TrainParams, again)
    return render(request, _train_page(lab, entries, job, {}))


@router.post("/train")
def start_training(lab: LabDep, request: Request, posted: Posted) -> Response:
    entries = with_priority(typed.posted_entries(TrainParams, posted), posted)
    return started(lab, request, JobKind.TRAIN, TrainParams, entries, _train_page)


@router.post("/train/estimate")
@asks
def estimate(lab: LabDep, request: Request, posted: Posted) -> Response:
    """The fragment that says how long what is typed would take."""
    return estimated(lab, request, TrainParams, typed.posted_entries(TrainParams, posted))


@router.post("/train/code")
@asks
def code(request: Request, posted: Posted) -> Response:
    """The fragment with what starts the job of the form from elsewhere."""
    entries = with_priority(typed.posted_entries(TrainParams, posted), posted)
    return code_of_form(request, JobKind.TRAIN, entries)


def _train_page(
    lab: Lab, entries: Entries, again: JobView | None, errors: Messages
) -> TrainContext:
    held = offered_datasets(lab, *typed.asked(entries, "dataset"))
    offers = {
        "dataset": held,
        "teacher": known_models(
            lab, *typed.asked(entries, "teacher"), giving=(Need.FEATURES,)
        ).offer,
        "continue_from": resumable_jobs(lab, *typed.asked(entries, "continue_from")),
    }
    form = form_of(TrainParams, entries=entries, offers=offers, errors=errors)
    links = presets.links("/train", presets.training_presets(), kept(entries, _OWN_OF_TRAINING))
    return TrainContext(
        form=form,
        has_dataset=bool(held.choices),
        presets=links,
        again=again,
        priority=shown_priority(entries),
    )


_OWN_OF_TRAINING = ("name", "dataset", "recipe", "teacher", "seed", "device")
