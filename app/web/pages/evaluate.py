"""New evaluation jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.contracts.jobs import JobKind
from app.contracts.params import EvaluateParams
from app.contracts.views import JobView
from app.deps import LabDep
from app.services import datasets, models
from app.services.lab import Lab
from app.web.forms import entries as typed
from app.web.forms import presets
from app.web.forms.choices import known_models, offered_datasets
from app.web.forms.form import FormView, form_of
from app.web.forms.presets import PresetLink
from app.web.pages.inputs import Posted
from app.web.pages.submitting import (
    AgainFrom,
    Entries,
    Messages,
    estimated,
    kept,
    prefilled,
    started,
)
from app.web.render import Context, render


@dataclass(frozen=True)
class EvaluateContext(Context):
    """The form of a new evaluation job."""

    template: ClassVar[str] = "evaluate.html"

    form: FormView
    """Made from `EvaluateParams`."""
    has_model: bool
    """Whether there is anything to evaluate."""
    presets: tuple[PresetLink, ...]
    """Ways to fill the form."""
    again: JobView | None
    """The job whose parameters fill the form."""


router = APIRouter()


@router.get("/evaluate")
def evaluate(lab: LabDep, request: Request, again: AgainFrom = None) -> Response:
    entries, job = prefilled(lab, request, JobKind.EVALUATE, EvaluateParams, again)
    if "dataset" not in entries:
        chosen = models.by_id(lab, entries.get("models", ())[:1])
        for view in chosen.values():
            dataset = datasets.fitting(lab, view.card)
            entries["dataset"] = () if dataset is None else (dataset.id,)
    return render(request, _evaluate_page(lab, entries, job, {}))


@router.post("/evaluate")
def start_evaluation(lab: LabDep, request: Request, posted: Posted) -> Response:
    entries = typed.posted_entries(EvaluateParams, posted)
    return started(lab, request, JobKind.EVALUATE, EvaluateParams, entries, _evaluate_page)


@router.post("/evaluate/estimate")
def estimate(lab: LabDep, request: Request, posted: Posted) -> Response:
    """The fragment that says how long what is typed would take."""
    return estimated(lab, request, EvaluateParams, typed.posted_entries(EvaluateParams, posted))


def _evaluate_page(
    lab: Lab, entries: Entries, again: JobView | None, errors: Messages
) -> EvaluateContext:
    known = known_models(lab, *typed.asked(entries, "models"))
    offers = {
        "dataset": offered_datasets(lab, *typed.asked(entries, "dataset")),
        "models": known.offer,
        "sources": known_models(lab, *typed.asked(entries, "sources")).offer,
    }
    form = form_of(EvaluateParams, entries=entries, offers=offers, errors=errors)
    own = kept(entries, ("models", "dataset"))
    links = presets.links("/evaluate", presets.EVALUATION_PRESETS, own)
    return EvaluateContext(form=form, has_model=bool(known.views), presets=links, again=again)
